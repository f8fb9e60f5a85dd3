//! `-m state`.

use fielato_netfilter::matches::conntrack::StateMatch;
use fielato_netfilter::matches::state::State;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use super::states;
use crate::extensions::values;

/// `-m state`.
#[derive(Debug)]
pub struct StateSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("state").negatable()];

impl MatchSyntax for StateSyntax {
    fn name(&self) -> &'static str {
        "state"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "state match options:\n\
         \x20[!] --state [INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED][,...]\n\
         \x20                             the packet is in one of these states\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("state", given, "state")?;
        let states = states::parse(option.value(), false).map_err(|rest| {
            SyntaxError::new(match rest {
                "" => "\"--state\" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED".to_owned(),
                rest => format!("Bad state \"{rest}\""),
            })
        })?;
        Ok(Match::State(State(StateMatch {
            states,
            negated: option.negated,
        })))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::State(State(m)) = m else {
            return String::new();
        };
        format!("{} --state {}", values::not(m.negated), states::show(m.states))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::State(State(m)) = m else {
            return String::new();
        };
        format!("{} state {}", values::not(m.negated), states::show(m.states))
    }
}
