//! `-m comment`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m comment`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comment {}

impl Comment {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("comment: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
