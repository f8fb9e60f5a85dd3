//! `-m esp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m esp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Esp {}

impl Esp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("esp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
