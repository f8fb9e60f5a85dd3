//! `-j TTL` (`xt_HL.c`).

use fielato_wire::Family;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// What TTL and HL do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set to this.
    Set(u8),
    /// More by this, at most 255.
    Increase(u8),
    /// Less by this, at least 0.
    Decrease(u8),
}

impl Change {
    pub(super) const fn apply(self, old: u8) -> u8 {
        match self {
            Change::Set(to) => to,
            Change::Increase(by) => old.saturating_add(by),
            Change::Decrease(by) => old.saturating_sub(by),
        }
    }
}

/// `-j TTL`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ttl {
    /// What is done.
    pub change: Change,
}

impl Ttl {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("TTL", Family::V4)?;
        cx.only_tables("TTL", &["mangle"])?;
        if matches!(self.change, Change::Increase(0) | Change::Decrease(0)) {
            return Err(CheckError("TTL: a change by 0 changes nothing".to_owned()));
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
