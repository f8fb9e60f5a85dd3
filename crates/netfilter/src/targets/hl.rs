//! `-j HL` (`xt_HL.c`).

use fielato_wire::Family;

use super::ttl::Change;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j HL`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hl {
    /// What is done.
    pub change: Change,
}

impl Hl {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("HL", Family::V6)?;
        cx.only_tables("HL", &["mangle"])?;
        if matches!(self.change, Change::Increase(0) | Change::Decrease(0)) {
            return Err(CheckError("HL: a change by 0 changes nothing".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let old = cx.packet.headers.ttl;
        let new = self.change.apply(old);
        if new != old {
            cx.packet.set_ttl(new);
        }
        TargetVerdict::Continue
    }
}
