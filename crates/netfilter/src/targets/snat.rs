//! `-j SNAT` (`xt_nat.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatRange};
use crate::verdict::TargetVerdict;

/// `-j SNAT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snat {
    /// `--to-source`
    pub range: Box<NatRange>,
}

impl Snat {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("SNAT", &["nat"])?;
        cx.only_hooks("SNAT", &[Hook::Postrouting, Hook::Input])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        super::setup_nat(cx, &self.range, Manip::Source)
    }
}
