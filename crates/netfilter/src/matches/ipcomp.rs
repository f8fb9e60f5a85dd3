//! `-m ipcomp`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ipcomp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ipcomp {}

impl Ipcomp {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("ipcomp: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
