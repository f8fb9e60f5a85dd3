//! `-m policy`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m policy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {}

impl Policy {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("policy: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
