//! `-m devgroup`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m devgroup`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Devgroup {}

impl Devgroup {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("devgroup: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
