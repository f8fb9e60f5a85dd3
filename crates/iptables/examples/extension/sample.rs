//! `-j SAMPLE --every N`: marks each Nth packet that the rule meets with 1. The count is the rule's own.

use std::any::Any;
use std::sync::Arc;

use fielato_netfilter::check::{CheckContext, CheckError};
use fielato_netfilter::context::{Context, Slot};
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::{ExtTarget, ExtensionTarget};
use fielato_netfilter::{Target, TargetVerdict};
use fielato_wire::Family;

#[derive(Debug, PartialEq)]
struct Sample {
    every: u32,
}

impl ExtensionTarget for Sample {
    fn name(&self) -> &str {
        "SAMPLE"
    }

    fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("SAMPLE", &["mangle"])
    }

    fn apply(&self, cx: &mut Context<'_>, slot: &mut Slot) -> TargetVerdict {
        let seen = match slot {
            Slot::Count(seen) => *seen + 1,
            _ => 1,
        };
        *slot = Slot::Count(seen);
        if seen % u64::from(self.every) == 0 {
            cx.packet.mark = 1;
        }
        TargetVerdict::Continue
    }

    fn same(&self, other: &dyn ExtensionTarget) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The user side.
pub struct SampleSyntax;

impl TargetSyntax for SampleSyntax {
    fn name(&self) -> &'static str {
        "SAMPLE"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("every")] }
    }

    fn help(&self, _family: Family) -> String {
        "SAMPLE target options:\n--every N    mark each Nth packet\n".to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let every = given
            .first()
            .and_then(|given| given.value().parse().ok())
            .filter(|every| *every > 0);
        let every = every.ok_or_else(|| SyntaxError::new("SAMPLE: --every needs a number above 0"))?;
        Ok(Target::Ext(ExtTarget(Arc::new(Sample { every }))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        every(t).map_or(String::new(), |every| format!(" --every {every}"))
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        every(t).map_or(String::new(), |every| format!(" SAMPLE every {every}"))
    }
}

fn every(t: &Target) -> Option<u32> {
    let Target::Ext(t) = t else { return None };
    t.as_any().downcast_ref::<Sample>().map(|sample| sample.every)
}
