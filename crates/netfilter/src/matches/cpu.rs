//! `-m cpu`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m cpu`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {}

impl Cpu {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("cpu: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
