//! `-m ecn`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ecn`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ecn {}

impl Ecn {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ecn: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
