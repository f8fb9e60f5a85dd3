//! `-m mh`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mh`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mh {}

impl Mh {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("mh: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
