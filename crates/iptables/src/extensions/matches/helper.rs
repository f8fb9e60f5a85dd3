//! `-m helper`.

use fielato_netfilter::matches::helper::Helper;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m helper`.
#[derive(Debug)]
pub struct HelperSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("helper").negatable()];
/// Longer names are cut, as iptables does.
const MAX: usize = 29;

impl MatchSyntax for HelperSyntax {
    fn name(&self) -> &'static str {
        "helper"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "helper match options:\n\
         [!] --helper string    the connection was announced by one that this helper reads\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("helper", given, "helper")?;
        let name = option.value();
        Ok(Match::Helper(Helper {
            name: name[..name.floor_char_boundary(MAX)].into(),
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Helper(m) = m else {
            return String::new();
        };
        format!("{} --helper{}", values::not(m.negated), values::save_string(&m.name))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Helper(m) = m else {
            return String::new();
        };
        format!(" helper match {}\"{}\"", if m.negated { "! " } else { "" }, m.name)
    }
}
