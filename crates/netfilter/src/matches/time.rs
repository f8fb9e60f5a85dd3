//! `-m time`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m time`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Time {}

impl Time {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("time: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
