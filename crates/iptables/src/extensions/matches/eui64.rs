//! `-m eui64`.

use fielato_netfilter::matches::eui64::Eui64;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

/// `-m eui64`.
#[derive(Debug)]
pub struct Eui64Syntax;

const OPTIONS: &[OptionSpec] = &[];

impl MatchSyntax for Eui64Syntax {
    fn name(&self) -> &'static str {
        "eui64"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "eui64 match has no options\n".to_owned()
    }

    fn parse(&self, _given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        Ok(Match::Eui64(Eui64 {}))
    }

    fn save(&self, _m: &Match, _cx: &PrintContext<'_>) -> String {
        String::new()
    }

    fn print(&self, _m: &Match, _cx: &PrintContext<'_>) -> String {
        // iptables' own match prints only its name.
        "eui64 ".to_owned()
    }
}
