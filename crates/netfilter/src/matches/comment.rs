//! `-m comment`: holds for every packet.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m comment`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comment {
    /// The text, at most 255 bytes.
    pub text: Box<str>,
}

impl Comment {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        true
    }
}
