//! `-m connmark` (`net/netfilter/xt_connmark.c`).

use super::mark::Mark;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connmark`: the mark of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connmark(pub Mark);

impl Connmark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        // Without a connection it holds neither plain nor negated.
        cx.conntrack.of(cx.packet).is_some_and(|conn| self.0.holds(conn.mark))
    }
}
