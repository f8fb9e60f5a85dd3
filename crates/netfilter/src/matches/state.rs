//! `-m state`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m state`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {}

impl State {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("state: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
