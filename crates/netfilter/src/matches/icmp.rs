//! `-m icmp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m icmp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Icmp {}

impl Icmp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("icmp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
