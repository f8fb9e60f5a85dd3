//! `-m quota`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m quota`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {}

impl Quota {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("quota: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
