//! `-m eui64`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m eui64`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Eui64 {}

impl Eui64 {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("eui64: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
