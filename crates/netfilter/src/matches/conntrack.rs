//! `-m conntrack`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m conntrack`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conntrack {}

impl Conntrack {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("conntrack: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
