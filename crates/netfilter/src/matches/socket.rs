//! `-m socket`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m socket`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {}

impl Socket {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("socket: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
