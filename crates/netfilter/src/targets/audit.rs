//! `-j AUDIT` (`xt_AUDIT.c`).

use crate::Effect;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j AUDIT`: a line for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// `--type accept`
    Accept,
    /// `--type drop`
    Drop,
    /// `--type reject`
    Reject,
}

impl Audit {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let headers = &cx.packet.headers;
        // No mark is written as -1. The record has not named the type since Linux 4.12.
        let mark = if cx.packet.mark == 0 { u32::MAX } else { cx.packet.mark };
        let (src, dst) = (headers.src.display(headers.family), headers.dst.display(headers.family));
        let line = format!("mark={mark:#x} saddr={src} daddr={dst} proto={}", headers.protocol);
        cx.effects.push(Effect::Audit { line });
        TargetVerdict::Continue
    }
}
