//! `-j IDLETIMER` (`xt_IDLETIMER.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j IDLETIMER`: restarts a timer; see [`crate::shared::idletimer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Idletimer {
    /// Seconds.
    pub timeout: u32,
    /// The timer's label; rules with the same share it.
    pub label: Box<str>,
    /// `--alarm`: the kernel would wake the machine for it.
    pub alarm: bool,
}

impl Idletimer {
    /// Longest label in bytes (`MAX_IDLETIMER_LABEL_SIZE` less the closing zero).
    pub const MAX_LABEL: usize = 27;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.timeout == 0 || self.timeout >= i32::MAX as u32 / 1000 {
            return Err(CheckError("IDLETIMER: the timeout must be 1 to 2147482 seconds".to_owned()));
        }
        if self.label.is_empty() || self.label.len() > Idletimer::MAX_LABEL {
            return Err(CheckError("IDLETIMER: the label must have 1 to 27 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        cx.shared.idletimer.restart(&self.label, self.timeout, cx.now.mono);
        TargetVerdict::Continue
    }
}
