//! `-j MASQUERADE`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::masquerade::Masquerade;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words;

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
        let range = nat::own_address("MASQUERADE", given, cx)?;
        Ok(Target::Masquerade(Masquerade {
            flags: range.flags,
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
    match t {
        Target::Masquerade(t) => nat::show_own_address(t.flags, t.min_port, t.max_port, option, dashes),
        _ => String::new(),
    }
}
