//! `-m multiport`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m multiport`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multiport {}

impl Multiport {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("multiport: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
