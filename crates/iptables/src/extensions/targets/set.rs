//! `-j SET`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::Arguments;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::set::{Parameters, Set};
use fielato_wire::Family;

use crate::extensions::words::sides;

use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j SET`.
pub struct SetSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("add-set").arguments(Arguments::Two),
    OptionSpec::one("del-set").arguments(Arguments::Two),
    OptionSpec::flag("exist"),
    OptionSpec::one("timeout"),
];

impl TargetSyntax for SetSyntax {
    fn name(&self) -> &'static str {
        "SET"
    }

    fn revision(&self) -> u8 {
        3
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "SET target",
            &[
                (
                    "--add-set name flags",
                    "put the packet into the set; flags: src and dst, separated by commas",
                ),
                ("--del-set name flags", "take it out"),
                ("--exist", "renew it when it is there"),
                ("--timeout n", "seconds that it stays"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("SET", given);
        let set = |option| options.get(option).map(|given| sides::parse(given, cx)).transpose();
        let parameters = Parameters {
            add: set("add-set")?,
            del: set("del-set")?,
            exist: options.has("exist"),
            timeout: options
                .number("timeout", 0, u64::from(u32::MAX) - 1)?
                .map(|seconds| seconds as u32),
        };
        if parameters.add.is_none() && parameters.del.is_none() {
            return Err(SyntaxError::new("You must specify either `--add-set' or `--del-set'"));
        }
        if parameters.add.is_none() && (parameters.exist || parameters.timeout.is_some()) {
            return Err(SyntaxError::new(
                "Flag `--exist' or `--timeout' can be used with `--add-set' only",
            ));
        }
        Ok(Target::Set(Set(Box::new(parameters))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "")
    }
}

fn show(t: &Target, dashes: &str) -> String {
    let Target::Set(Set(p)) = t else {
        return String::new();
    };
    let mut out = String::new();
    if let Some((name, chosen)) = &p.add {
        out += &format!(" {dashes}add-set {} {}", bare(name), sides::show(*chosen));
    }
    if p.exist {
        out += &format!(" {dashes}exist");
    }
    if let Some(timeout) = p.timeout {
        out += &format!(" {dashes}timeout {timeout}");
    }
    if let Some((name, chosen)) = &p.del {
        out += &format!(" {dashes}del-set {} {}", bare(name), sides::show(*chosen));
    }
    out
}
