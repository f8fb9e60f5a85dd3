//! `-m udp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m udp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Udp {}

impl Udp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("udp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
