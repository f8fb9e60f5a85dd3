//! `-m ipv6opts`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ipv6opts`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ipv6Options {}

impl Ipv6Options {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ipv6opts: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
