//! `-m connbytes`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connbytes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connbytes {}

impl Connbytes {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("connbytes: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
