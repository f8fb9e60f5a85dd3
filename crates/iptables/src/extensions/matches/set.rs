//! `-m set`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Arguments, Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::set::{Compare, Parameters, Set};

use crate::extensions::values;
use crate::extensions::words::{self, Options, sides};
use crate::text::bare;

/// The user side of `-m set`.
pub struct SetSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("match-set").arguments(Arguments::Two).negatable(),
    OptionSpec::one("set")
        .arguments(Arguments::Two)
        .negatable()
        .alias_of("match-set"),
    OptionSpec::flag("return-nomatch"),
    OptionSpec::flag("update-counters").negatable(),
    OptionSpec::flag("update-subcounters").negatable(),
    OptionSpec::one("packets-eq").negatable(),
    OptionSpec::one("packets-lt"),
    OptionSpec::one("packets-gt"),
    OptionSpec::one("bytes-eq").negatable(),
    OptionSpec::one("bytes-lt"),
    OptionSpec::one("bytes-gt"),
];

impl MatchSyntax for SetSyntax {
    fn name(&self) -> &'static str {
        "set"
    }

    fn revision(&self) -> u8 {
        4
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "set match",
            &[
                (
                    "[!] --match-set name flags",
                    "the packet is in the set; flags: src and dst, separated by commas",
                ),
                ("[--return-nomatch]", "an excluded entry holds"),
                ("[! --update-counters]", "the entry's counters stay"),
                ("[! --update-subcounters]", "those of a list's members stay"),
                ("[[!] --packets-eq value]", "the entry's packets are so many"),
                ("[--packets-lt value]", "fewer"),
                ("[--packets-gt value]", "more"),
                ("[[!] --bytes-eq value]", "the entry's bytes are so many"),
                ("[--bytes-lt value]", "fewer"),
                ("[--bytes-gt value]", "more"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("set", given);
        let Some(chosen) = options.get("match-set") else {
            return Err(SyntaxError::new("You must specify `--match-set' with proper arguments"));
        };
        let (name, sides) = sides::parse(chosen, cx)?;
        Ok(Match::Set(Set(Box::new(Parameters {
            name,
            negated: chosen.negated,
            sides,
            return_nomatch: options.has("return-nomatch"),
            keep_counters: options.negated("update-counters"),
            keep_subcounters: options.negated("update-subcounters"),
            packets: compare(&options, "packets", ["packets-eq", "packets-lt", "packets-gt"])?,
            bytes: compare(&options, "bytes", ["bytes-eq", "bytes-lt", "bytes-gt"])?,
        }))))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        show(m, "--")
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        show(m, "")
    }
}

fn compare(options: &Options<'_>, what: &str, names: [&'static str; 3]) -> Result<Compare, SyntaxError> {
    let [equal, less, greater] = names;
    if names.iter().filter(|name| options.has(name)).count() > 1 {
        return Err(SyntaxError::new(format!("only one of the --{what}-[eq|lt|gt] is allowed")));
    }
    Ok(if let Some(value) = options.number(equal, 0, u64::MAX)? {
        match options.negated(equal) {
            true => Compare::NotEqual(value),
            false => Compare::Equal(value),
        }
    } else if let Some(value) = options.number(less, 0, u64::MAX)? {
        Compare::Less(value)
    } else if let Some(value) = options.number(greater, 0, u64::MAX)? {
        Compare::Greater(value)
    } else {
        Compare::Any
    })
}

fn show(m: &Match, dashes: &str) -> String {
    let Match::Set(Set(p)) = m else {
        return String::new();
    };
    let mut out = String::from(values::not(p.negated));
    let _ = write!(out, " {dashes}match-set {} {}", bare(&p.name), sides::show(p.sides));
    for (shown, text) in [
        (p.return_nomatch, ("", "return-nomatch")),
        (p.keep_counters, ("! ", "update-counters")),
        (p.keep_subcounters, ("! ", "update-subcounters")),
    ] {
        if shown {
            let _ = write!(out, " {}{dashes}{}", text.0, text.1);
        }
    }
    for (what, compare) in [("packets", p.packets), ("bytes", p.bytes)] {
        let _ = match compare {
            Compare::Any => Ok(()),
            Compare::NotEqual(value) => write!(out, " ! {dashes}{what}-eq {value}"),
            Compare::Equal(value) => write!(out, " {dashes}{what}-eq {value}"),
            Compare::Less(value) => write!(out, " {dashes}{what}-lt {value}"),
            Compare::Greater(value) => write!(out, " {dashes}{what}-gt {value}"),
        };
    }
    out
}
