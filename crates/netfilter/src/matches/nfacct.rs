//! `-m nfacct` (`xt_nfacct.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m nfacct`: counts the packet in a named object, and holds when that is beyond its quota (or has none).
#[derive(Clone, Debug, PartialEq)]
pub struct Nfacct {
    /// The object's name.
    pub name: Box<str>,
}

impl Nfacct {
    /// Longest name in bytes (`NFACCT_NAME_MAX` less the closing zero).
    pub const MAX_NAME: usize = 31;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.name.is_empty() || self.name.len() > Nfacct::MAX_NAME {
            return Err(CheckError("nfacct: the name must have 1 to 31 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let bytes = cx.packet.data.len() as u64;
        cx.shared.nfacct.count(&self.name, bytes)
    }
}
