//! `-m dccp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m dccp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dccp {}

impl Dccp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("dccp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
