//! `-m rpfilter`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m rpfilter`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rpfilter {}

impl Rpfilter {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("rpfilter: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
