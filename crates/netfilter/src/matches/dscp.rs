//! `-m dscp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m dscp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dscp {}

impl Dscp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("dscp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
