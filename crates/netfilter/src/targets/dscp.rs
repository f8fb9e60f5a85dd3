//! `-j DSCP` (`xt_DSCP.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j DSCP`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dscp {
    /// The code point, 0 to 63.
    pub dscp: u8,
}

impl Dscp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.dscp > 63 {
            return Err(CheckError(format!("DSCP {} is out of range (0 to 63)", self.dscp)));
        }
        cx.only_tables("DSCP", &["mangle"])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let old = cx.packet.headers.tos;
        if old >> 2 != self.dscp {
            cx.packet.set_tos(old & 0x03 | self.dscp << 2);
        }
        TargetVerdict::Continue
    }
}
