//! `-j TPROXY`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j TPROXY`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tproxy {}

impl Tproxy {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("TPROXY: not built yet".to_owned()))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        TargetVerdict::Continue
    }
}
