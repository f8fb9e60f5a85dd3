//! `-m srh`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m srh`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Srh {}

impl Srh {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("srh: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
