//! `-j LOG` (`xt_LOG.c`).

use crate::Effect;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
pub use crate::log_line::LogFlags;
use crate::verdict::TargetVerdict;

/// `-j LOG`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// syslog's level, 0 to 7.
    pub level: u8,
    /// What is shown beside the usual.
    pub flags: LogFlags,
    /// Before the line; at most 29 bytes.
    pub prefix: Box<str>,
}

impl Log {
    /// `warning`.
    pub const DEFAULT_LEVEL: u8 = 4;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.level > 7 {
            return Err(CheckError(format!("LOG: there is no level {} (0 to 7)", self.level)));
        }
        if self.prefix.len() > 29 {
            return Err(CheckError("LOG: the prefix is longer than 29 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let line = crate::log_line::line(&self.prefix, cx.packet, self.flags, cx.host);
        cx.effects.push(Effect::Log { level: self.level, line });
        TargetVerdict::Continue
    }
}
