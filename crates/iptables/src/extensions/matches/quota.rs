//! `-m quota`.

use fielato_netfilter::matches::quota::Quota;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m quota`.
#[derive(Debug)]
pub struct QuotaSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("quota").negatable()];

impl MatchSyntax for QuotaSyntax {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "quota match options:\n\
         [!] --quota quota    bytes that the rule lets by before it no longer holds\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("quota", given, "quota")?;
        Ok(Match::Quota(Quota {
            bytes: values::integer("quota", option, 0, u64::MAX)?,
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Quota(m) = m else {
            return String::new();
        };
        format!("{} --quota {}", values::not(m.negated), m.bytes)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Quota(m) = m else {
            return String::new();
        };
        format!(" quota: {} bytes", m.bytes)
    }
}
