//! `-m bpf`.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m bpf`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bpf {}

impl Bpf {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Err(CheckError("bpf: not built yet".to_owned()))
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
