//! `-j DNAT` (`xt_nat.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatRange};
use crate::verdict::TargetVerdict;

/// `-j DNAT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dnat {
    /// `--to-destination`
    pub range: Box<NatRange>,
}

impl Dnat {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("DNAT", &["nat"])?;
        cx.only_hooks("DNAT", &[Hook::Prerouting, Hook::Output])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        super::setup_nat(cx, &self.range, Manip::Destination)
    }
}
