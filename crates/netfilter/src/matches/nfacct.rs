//! `-m nfacct`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m nfacct`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nfacct {}

impl Nfacct {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("nfacct: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
