//! `-j SNPT` (`ip6t_NPT.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

pub use super::npt::Prefixes;

/// `-j SNPT`: puts the source address into another prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Snpt(pub Box<Prefixes>);

impl Snpt {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        self.0.check("SNPT", &[Hook::Input, Hook::Postrouting], cx)
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let Some(address) = self.0.map(cx.packet.headers.src) else {
            // Parameter problem: the source, at byte 8 of the header.
            super::reject::send_icmp_error(cx, 4, 0, 8);
            return TargetVerdict::Drop;
        };
        if let Some(place) = cx.packet.data.get_mut(8..8 + 16) {
            address.write(place);
        }
        cx.packet.headers.src = address;
        // An error about a packet that went the other way quotes it as it was then.
        self.0.map_quoted(cx.packet, 24);
        TargetVerdict::Continue
    }
}
