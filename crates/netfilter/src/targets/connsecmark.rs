//! `-j CONNSECMARK` (`xt_CONNSECMARK.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j CONNSECMARK`: carries a packet's security mark to its connection or back. No security module marks packets here, so
/// there is nothing to carry; rules with it load and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connsecmark {
    /// `--save`
    Save,
    /// `--restore`
    Restore,
}

impl Connsecmark {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("CONNSECMARK", &["mangle", "security"])
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
