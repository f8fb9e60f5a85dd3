//! `-j TRACE` (`xt_TRACE.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j TRACE`: every rule that the packet meets from here on is reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {}

impl Trace {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("TRACE", &["raw"])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        cx.packet.trace = true;
        TargetVerdict::Continue
    }
}
