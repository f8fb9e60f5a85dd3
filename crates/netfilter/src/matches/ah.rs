//! `-m ah`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ah`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ah {}

impl Ah {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ah: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
