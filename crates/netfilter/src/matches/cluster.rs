//! `-m cluster`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m cluster`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {}

impl Cluster {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("cluster: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
