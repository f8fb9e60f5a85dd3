//! `-m length`.

use fielato_netfilter::matches::length::Length;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m length`.
#[derive(Debug)]
pub struct LengthSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("length").negatable()];

impl MatchSyntax for LengthSyntax {
    fn name(&self) -> &'static str {
        "length"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "length match options:\n\
         [!] --length length[:length]    length of the packet in bytes, one value or a range\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("length", given, "length")?;
        let range = values::range16("length", option)?;
        Ok(Match::Length(Length { range }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Length(m) => values::save_range("length", &m.range),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Length(m) = m else {
            return String::new();
        };
        let inverted = if m.range.negated { "!" } else { "" };
        format!(" length {inverted}{}", values::show_range(&m.range))
    }
}
