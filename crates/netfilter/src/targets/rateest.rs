//! `-j RATEEST` (`xt_RATEEST.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j RATEEST`: counts the packet in a named estimator, which `-m rateest` asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Rateest {
    /// The estimator's name.
    pub name: Box<str>,
    /// Samples are taken each `250 ms << (interval + 2)`, -2 to 3.
    pub interval: i8,
    /// A sample weighs `2^-ewma_log`.
    pub ewma_log: u8,
}

impl Rateest {
    /// Longest name in bytes (IFNAMSIZ less the closing zero).
    pub const MAX_NAME: usize = 15;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.name.is_empty() || self.name.len() > Rateest::MAX_NAME {
            return Err(CheckError("RATEEST: the name must have 1 to 15 bytes".to_owned()));
        }
        if !(-2..=3).contains(&self.interval) || !(1..31).contains(&self.ewma_log) {
            return Err(CheckError("RATEEST: interval or averaging time is out of range".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let (bytes, now) = (cx.packet.data.len() as u64, cx.now.mono);
        cx.shared.rateest.count(&self.name, self.interval, self.ewma_log, bytes, now);
        TargetVerdict::Continue
    }
}
