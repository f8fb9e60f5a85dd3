//! `-j TRACE`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::trace::Trace;

/// The user side of `-j TRACE`.
pub struct TraceSyntax;

impl TargetSyntax for TraceSyntax {
    fn name(&self) -> &'static str {
        "TRACE"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn help(&self, _family: Family) -> String {
        String::new()
    }

    fn parse(&self, _given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        Ok(Target::Trace(Trace {}))
    }

    fn save(&self, _t: &Target, _cx: &PrintContext<'_>) -> String {
        String::new()
    }

    fn print(&self, _t: &Target, _cx: &PrintContext<'_>) -> String {
        String::new()
    }
}
