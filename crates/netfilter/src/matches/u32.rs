//! `-m u32`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m u32`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct U32 {}

impl U32 {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("u32: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
