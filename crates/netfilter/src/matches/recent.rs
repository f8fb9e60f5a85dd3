//! `-m recent`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m recent`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {}

impl Recent {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("recent: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
