//! `-m mark`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mark`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {}

impl Mark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("mark: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
