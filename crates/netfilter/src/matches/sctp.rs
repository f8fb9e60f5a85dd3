//! `-m sctp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m sctp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sctp {}

impl Sctp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("sctp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
