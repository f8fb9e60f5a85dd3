//! `-j LED` (`xt_LED.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j LED`: lights a lamp; see [`crate::shared::led`].
#[derive(Clone, Debug, PartialEq)]
pub struct Led {
    /// The lamp's name.
    pub id: Box<str>,
    /// Milliseconds that it stays lit; none for ever.
    pub delay: Option<u32>,
    /// `--led-always-blink`: it blinks when it is lit already.
    pub always_blink: bool,
}

impl Led {
    /// Longest name in bytes: the kernel puts `netfilter-` before it.
    pub const MAX_ID: usize = 16;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.id.is_empty() || self.id.len() > Led::MAX_ID {
            return Err(CheckError("LED: the name must have 1 to 16 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        cx.shared.led.light(&self.id, self.delay, self.always_blink, cx.now.mono);
        TargetVerdict::Continue
    }
}
