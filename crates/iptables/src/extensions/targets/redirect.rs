//! `-j REDIRECT`.

use fielato_netfilter::Target;
use fielato_netfilter::nat::{NatFlags, NatRange};
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::redirect::Redirect;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words::{self, Options};

/// The user side of `-j REDIRECT`.
pub struct RedirectSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("to-ports"), OptionSpec::flag("random")];

impl TargetSyntax for RedirectSyntax {
    fn name(&self) -> &'static str {
        "REDIRECT"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "REDIRECT target",
            &[
                ("--to-ports <port>[-<port>]", "ports to choose from"),
                ("--random", "choose the port by a hash of the addresses and a secret"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("REDIRECT", given);
        let mut range = NatRange::default();
        if let Some(text) = options.text("to-ports") {
            nat::ports(text, cx, &mut range)?;
            nat::no_base(&range)?;
        }
        Ok(Target::Redirect(Redirect {
            flags: NatFlags(range.flags.0 | nat::flags(&options)),
            min_port: range.min_port,
            max_port: range.max_port,
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--to-ports ", "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "redir ports ", "")
    }
}

fn show(t: &Target, option: &str, dashes: &str) -> String {
    let Target::Redirect(t) = t else {
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
