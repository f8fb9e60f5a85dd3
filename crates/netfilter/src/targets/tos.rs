//! `-j TOS`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j TOS`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tos {}

impl Tos {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("TOS: not built yet".to_owned()))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
