//! `-m icmp6`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m icmp6`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Icmp6 {}

impl Icmp6 {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("icmp6: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
