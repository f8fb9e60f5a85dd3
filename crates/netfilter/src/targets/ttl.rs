//! `-j TTL` and `-j HL` (`xt_HL.c`).

use fielato_wire::Family;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// What is done.
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
    const fn apply(self, old: u8) -> u8 {
        match self {
            Change::Set(to) => to,
            Change::Increase(by) => old.saturating_add(by),
            Change::Decrease(by) => old.saturating_sub(by),
        }
    }
}

/// `-j TTL`: the time to live; `-j HL`: the hop limit, as IPv6 calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ttl {
    /// Which of both.
    pub family: Family,
    /// What is done.
    pub change: Change,
}

impl Ttl {
    /// Its name: `TTL` or `HL`.
    pub const fn name(&self) -> &'static str {
        match self.family {
            Family::V4 => "TTL",
            Family::V6 => "HL",
        }
    }

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family(self.name(), self.family)?;
        cx.only_tables(self.name(), &["mangle"])?;
        if matches!(self.change, Change::Increase(0) | Change::Decrease(0)) {
            return Err(CheckError(format!("{}: a change by 0 changes nothing", self.name())));
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
