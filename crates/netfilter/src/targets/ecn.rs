//! `-j ECN`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j ECN`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ecn {}

impl Ecn {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ECN: not built yet".to_owned()))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
