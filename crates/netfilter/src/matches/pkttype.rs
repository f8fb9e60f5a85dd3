//! `-m pkttype`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m pkttype`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pkttype {}

impl Pkttype {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("pkttype: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
