//! `-m frag`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m frag`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frag {}

impl Frag {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("frag: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
