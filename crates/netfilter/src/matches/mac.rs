//! `-m mac`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mac`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mac {}

impl Mac {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("mac: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
