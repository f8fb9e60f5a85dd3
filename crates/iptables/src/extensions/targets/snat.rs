//! `-j SNAT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::snat::Snat;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words::{self, Options};

/// The user side of `-j SNAT`.
pub struct SnatSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("to-source"),
    OptionSpec::flag("random"),
    OptionSpec::flag("random-fully"),
    OptionSpec::flag("persistent"),
];

impl TargetSyntax for SnatSyntax {
    fn name(&self) -> &'static str {
        "SNAT"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "SNAT target",
            &[
                ("--to-source [<ipaddr>[-<ipaddr>]][:port[-port]]", "new source"),
                ("--random", "choose the port by a hash of the addresses and a secret"),
                ("--random-fully", "choose the port at random, each time anew"),
                ("--persistent", "the same address for all connections of a client"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("SNAT", given);
        let mut range = nat::range(options.required("to-source")?, cx)?;
        nat::no_base(&range)?;
        range.flags.0 |= nat::flags(&options);
        Ok(Target::Snat(Snat { range: Box::new(range) }))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, "--to-source ", "--")
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, "to:", "")
    }
}

fn show(t: &Target, cx: &PrintContext<'_>, option: &str, dashes: &str) -> String {
    match t {
        Target::Snat(t) => nat::show(&t.range, cx.family, option, dashes),
        _ => String::new(),
    }
}
