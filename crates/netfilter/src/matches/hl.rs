//! `-m hl`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m hl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hl {}

impl Hl {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("hl: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
