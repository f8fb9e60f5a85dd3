//! `-j MARK` (`xt_mark.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j MARK`: clears the bits of `mask`, then flips those of `value`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// Bits to flip.
    pub value: u32,
    /// Bits to clear first.
    pub mask: u32,
}

impl Mark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        cx.packet.mark = cx.packet.mark & !self.mask ^ self.value;
        TargetVerdict::Continue
    }
}
