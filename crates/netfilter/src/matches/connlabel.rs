//! `-m connlabel`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connlabel`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connlabel {}

impl Connlabel {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("connlabel: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
