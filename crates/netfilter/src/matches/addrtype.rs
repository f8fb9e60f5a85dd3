//! `-m addrtype`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m addrtype`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addrtype {}

impl Addrtype {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("addrtype: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
