//! `-m length`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m length`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Length {}

impl Length {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("length: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
