//! `-m ttl`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ttl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ttl {}

impl Ttl {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ttl: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
