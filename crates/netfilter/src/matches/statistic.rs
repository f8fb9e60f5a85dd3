//! `-m statistic`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m statistic`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistic {}

impl Statistic {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("statistic: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
