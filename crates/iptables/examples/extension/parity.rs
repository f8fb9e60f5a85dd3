//! `-m parity [!] --odd`: whether the last bit of the source address is set.

use std::any::Any;
use std::sync::Arc;

use fielato_netfilter::Match;
use fielato_netfilter::check::{CheckContext, CheckError};
use fielato_netfilter::context::{Context, Slot};
use fielato_netfilter::matches::{ExtMatch, ExtensionMatch};
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

#[derive(Debug, PartialEq)]
struct Parity {
    negated: bool,
}

impl ExtensionMatch for Parity {
    fn name(&self) -> &str {
        "parity"
    }

    fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (cx.packet.headers.src.lo & 1 == 1) != self.negated
    }

    fn same(&self, other: &dyn ExtensionMatch) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The user side.
pub struct ParitySyntax;

impl MatchSyntax for ParitySyntax {
    fn name(&self) -> &'static str {
        "parity"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::flag("odd").negatable()] }
    }

    fn help(&self, _family: Family) -> String {
        "parity match options:\n[!] --odd    the source address ends in a 1 bit\n".to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let odd = given.first().ok_or_else(|| SyntaxError::new("parity: --odd is needed"))?;
        let parity = Parity { negated: odd.negated };
        Ok(Match::Ext(ExtMatch(Arc::new(parity))))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        format!("{} --odd", bang(m))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        format!("{} odd", bang(m))
    }
}

fn bang(m: &Match) -> &'static str {
    let Match::Ext(m) = m else { return "" };
    let parity = m.as_any().downcast_ref::<Parity>();
    if parity.is_some_and(|parity| parity.negated) {
        " !"
    } else {
        ""
    }
}
