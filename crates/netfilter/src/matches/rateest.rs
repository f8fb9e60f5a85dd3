//! `-m rateest`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m rateest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rateest {}

impl Rateest {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("rateest: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
