//! `-m tcpmss`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tcpmss`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcpmss {}

impl Tcpmss {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("tcpmss: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
