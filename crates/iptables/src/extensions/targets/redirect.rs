//! `-j REDIRECT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::redirect::Redirect;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words;

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
        let range = nat::own_address("REDIRECT", given, cx)?;
        Ok(Target::Redirect(Redirect {
            flags: range.flags,
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
    match t {
        Target::Redirect(t) => nat::show_own_address(t.flags, t.min_port, t.max_port, option, dashes),
        _ => String::new(),
    }
}
