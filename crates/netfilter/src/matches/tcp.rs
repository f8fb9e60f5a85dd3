//! `-m tcp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tcp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {}

impl Tcp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("tcp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
