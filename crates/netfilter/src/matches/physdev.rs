//! `-m physdev`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m physdev`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Physdev {}

impl Physdev {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("physdev: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
