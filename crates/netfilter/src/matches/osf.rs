//! `-m osf`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m osf`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Osf {}

impl Osf {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("osf: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
