//! `-m rt`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m rt`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rt {}

impl Rt {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("rt: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
