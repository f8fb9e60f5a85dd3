//! `-m cgroup`.

use fielato_netfilter::matches::cgroup::{Cgroup, CgroupKey};
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
        // The command takes none or both, the kernel refuses.
        let [option] = given else {
            return Err(SyntaxError::new("cgroup: one of --path and --cgroup is required"));
        };
        let key = match option.option {
            "path" => CgroupKey::Path(option.value().into()),
            _ => CgroupKey::ClassId(values::integer("cgroup", option, 0, u32::MAX.into())? as u32),
        };
        let negated = option.negated;
        Ok(Match::Cgroup(Cgroup { key, negated }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cgroup(m) = m else {
            return String::new();
        };
        let inverted = values::not(m.negated);
        match &m.key {
            CgroupKey::Path(path) => format!("{inverted} --path{}", values::save_string(path)),
            CgroupKey::ClassId(class) => format!("{inverted} --cgroup {class}"),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cgroup(m) = m else {
            return String::new();
        };
        let inverted = if m.negated { "! " } else { "" };
        match &m.key {
            CgroupKey::Path(path) => format!(" cgroup {inverted}{path}"),
            CgroupKey::ClassId(class) => format!(" cgroup {inverted}{class}"),
        }
    }
}
