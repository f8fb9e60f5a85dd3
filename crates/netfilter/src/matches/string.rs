//! `-m string`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m string`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct String {}

impl String {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("string: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
