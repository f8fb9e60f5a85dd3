//! `-j TEE`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j TEE`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tee {}

impl Tee {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("TEE: not built yet".to_owned()))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
