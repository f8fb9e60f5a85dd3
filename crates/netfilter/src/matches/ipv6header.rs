//! `-m ipv6header`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ipv6header`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ipv6Header {}

impl Ipv6Header {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ipv6header: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
