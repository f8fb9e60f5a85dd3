//! `-m limit`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m limit`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limit {}

impl Limit {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("limit: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
