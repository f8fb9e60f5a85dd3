//! `-m realm`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m realm`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Realm {}

impl Realm {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("realm: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
