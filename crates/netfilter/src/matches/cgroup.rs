//! `-m cgroup`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m cgroup`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cgroup {}

impl Cgroup {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("cgroup: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
