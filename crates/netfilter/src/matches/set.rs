//! `-m set`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m set`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {}

impl Set {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("set: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
