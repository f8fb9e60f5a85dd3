//! `-j MASQUERADE`.

use fielato_netfilter::Target;
use fielato_netfilter::nat::{NatFlags, NatRange};
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::masquerade::Masquerade;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words::{self, Options};

/// The user side of `-j MASQUERADE`.
pub struct MasqueradeSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("to-ports"),
    OptionSpec::flag("random"),
    OptionSpec::flag("random-fully"),
];

impl TargetSyntax for MasqueradeSyntax {
    fn name(&self) -> &'static str {
        "MASQUERADE"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "MASQUERADE target",
            &[
                ("--to-ports <port>[-<port>]", "ports to choose from"),
                ("--random", "choose the port by a hash of the addresses and a secret"),
                ("--random-fully", "choose the port at random, each time anew"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("MASQUERADE", given);
        let mut range = NatRange::default();
        if let Some(text) = options.text("to-ports") {
            nat::ports(text, cx, &mut range)?;
            nat::no_base(&range)?;
        }
        Ok(Target::Masquerade(Masquerade {
            flags: NatFlags(range.flags.0 | nat::flags(&options)),
            min_port: range.min_port,
            max_port: range.max_port,
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--to-ports ", "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "masq ports: ", "")
    }
}

fn show(t: &Target, option: &str, dashes: &str) -> String {
    let Target::Masquerade(t) = t else {
        return String::new();
    };
    let range = NatRange {
        flags: t.flags,
        min_port: t.min_port,
        max_port: t.max_port,
        ..NatRange::default()
    };
    let ports = match t.flags.has(NatFlags::PROTO_SPECIFIED) {
        true => format!(" {option}{}", nat::show_ports(&range)),
        false => String::new(),
    };
    ports + &nat::show_flags(t.flags, dashes)
}
