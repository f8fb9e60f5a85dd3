//! `-j CLASSIFY` (`xt_CLASSIFY.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j CLASSIFY`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classify {
    /// `MAJOR:MINOR`, 16 bits each.
    pub priority: u32,
}

impl Classify {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("CLASSIFY", &[Hook::Output, Hook::Forward, Hook::Postrouting])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        cx.packet.priority = self.priority;
        TargetVerdict::Continue
    }
}
