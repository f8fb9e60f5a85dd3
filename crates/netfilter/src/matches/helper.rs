//! `-m helper`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m helper`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Helper {}

impl Helper {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("helper: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
