//! `-j SECMARK` (`xt_SECMARK.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j SECMARK`: gives the packet a security context. No security module reads it here; rules with it load and count.
#[derive(Clone, Debug, PartialEq)]
pub struct Secmark {
    /// `--selctx`
    pub context: Box<str>,
}

impl Secmark {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.context.is_empty() || self.context.len() > 255 {
            return Err(CheckError("SECMARK: the context must have 1 to 255 bytes".to_owned()));
        }
        cx.only_tables("SECMARK", &["mangle", "security"])
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
