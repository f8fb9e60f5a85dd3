//! `-m owner`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m owner`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owner {}

impl Owner {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("owner: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
