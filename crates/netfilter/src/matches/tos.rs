//! `-m tos`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tos`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tos {}

impl Tos {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("tos: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
