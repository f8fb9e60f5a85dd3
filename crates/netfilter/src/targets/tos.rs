//! `-j TOS` (`xt_DSCP.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j TOS`: clears the bits of `mask` in the type of service, then flips those of `value`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tos {
    /// Bits to flip.
    pub value: u8,
    /// Bits to clear first.
    pub mask: u8,
}

impl Tos {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("TOS", &["mangle"])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let old = cx.packet.headers.tos;
        let new = old & !self.mask ^ self.value;
        if new != old {
            cx.packet.set_tos(new);
        }
        TargetVerdict::Continue
    }
}
