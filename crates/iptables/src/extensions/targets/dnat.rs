//! `-j DNAT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::dnat::Dnat;
use fielato_wire::Family;

use super::nat;
use crate::extensions::words::{self, Options};

/// The user side of `-j DNAT`.
pub struct DnatSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("to-destination"),
    OptionSpec::flag("random"),
    OptionSpec::flag("persistent"),
];

impl TargetSyntax for DnatSyntax {
    fn name(&self) -> &'static str {
        "DNAT"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "DNAT target",
            &[
                (
                    "--to-destination [<ipaddr>[-<ipaddr>]][:port[-port[/port]]]",
                    "new destination",
                ),
                ("--random", "choose the port by a hash of the addresses and a secret"),
                ("--persistent", "the same address for all connections of a client"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("DNAT", given);
        let mut range = nat::range(options.required("to-destination")?, cx)?;
        range.flags.0 |= nat::flags(&options);
        Ok(Target::Dnat(Dnat { range: Box::new(range) }))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, "--to-destination ", "--")
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, "to:", "")
    }
}

fn show(t: &Target, cx: &PrintContext<'_>, option: &str, dashes: &str) -> String {
    match t {
        Target::Dnat(t) => nat::show(&t.range, cx.family, option, dashes),
        _ => String::new(),
    }
}
