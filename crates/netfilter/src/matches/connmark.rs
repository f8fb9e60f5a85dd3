//! `-m connmark`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connmark`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connmark {}

impl Connmark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("connmark: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
