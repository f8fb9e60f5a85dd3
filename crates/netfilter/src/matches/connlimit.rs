//! `-m connlimit`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connlimit`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connlimit {}

impl Connlimit {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("connlimit: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
