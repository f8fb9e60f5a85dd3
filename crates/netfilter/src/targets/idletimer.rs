//! `-j IDLETIMER`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j IDLETIMER`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Idletimer {}

impl Idletimer {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("IDLETIMER: not built yet".to_owned()))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
