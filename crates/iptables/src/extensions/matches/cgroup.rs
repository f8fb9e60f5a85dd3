//! `-m cgroup`.

use fielato_netfilter::matches::cgroup::Cgroup;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m cgroup`.
#[derive(Debug)]
pub struct CgroupSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("path").negatable(), OptionSpec::one("cgroup").negatable()];

impl MatchSyntax for CgroupSyntax {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "cgroup match options:\n\
         [!] --path path         the socket's control group is this one (version 2) or below it\n\
         [!] --cgroup classid    its class (version 1); not together with --path\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        // None or both of them are the kernel's to refuse.
        let mut m = Cgroup::default();
        for option in given {
            match option.option {
                "path" => {
                    m.by_path = true;
                    m.path = option.value().into();
                }
                _ => {
                    m.by_class = true;
                    m.class = values::integer("cgroup", option, 0, u32::MAX.into())? as u32;
                }
            }
            m.negated |= option.negated;
        }
        Ok(Match::Cgroup(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cgroup(m) = m else {
            return String::new();
        };
        let inverted = values::not(m.negated);
        match m.by_path {
            true => format!("{inverted} --path{}", values::save_string(&m.path)),
            false => format!("{inverted} --cgroup {}", m.class),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cgroup(m) = m else {
            return String::new();
        };
        let inverted = if m.negated { "! " } else { "" };
        match m.by_path {
            true => format!(" cgroup {inverted}{}", m.path),
            false => format!(" cgroup {inverted}{}", m.class),
        }
    }
}
