//! `-m hashlimit`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m hashlimit`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hashlimit {}

impl Hashlimit {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("hashlimit: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
