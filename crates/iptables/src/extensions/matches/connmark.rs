//! `-m connmark`.

use fielato_netfilter::matches::connmark::Connmark;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use super::mark;
use crate::extensions::values;

/// `-m connmark`.
#[derive(Debug)]
pub struct ConnmarkSyntax;

impl MatchSyntax for ConnmarkSyntax {
    fn name(&self) -> &'static str {
        "connmark"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        mark::OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "connmark match options:\n\
         [!] --mark value[/mask]    the connection's mark, under the mask, is value\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        mark::parse("connmark", given).map(|m| Match::Connmark(Connmark(m)))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Connmark(Connmark(m)) => mark::save(m),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Connmark(Connmark(m)) = m else {
            return String::new();
        };
        // Two spaces, or "!" and one, as iptables has them.
        let inverted = if m.negated { "!" } else { "" };
        format!(" connmark match {inverted}{}", values::show_value_mask(m.mark, m.mask))
    }
}
