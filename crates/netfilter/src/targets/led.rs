//! `-j LED` (`xt_LED.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j LED`: lights a lamp; see [`crate::shared::led`].
#[derive(Clone, Debug, PartialEq)]
pub struct Led(pub Box<Parameters>);

/// The parameters of `-j LED`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
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
        if self.0.id.is_empty() || self.0.id.len() > Led::MAX_ID {
            return Err(CheckError("LED: the name must have 1 to 16 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let p = &*self.0;
        cx.shared.led.light(&p.id, p.delay, p.always_blink, cx.now.mono);
        TargetVerdict::Continue
    }
}
