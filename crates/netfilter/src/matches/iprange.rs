//! `-m iprange`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m iprange`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Iprange {}

impl Iprange {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("iprange: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
