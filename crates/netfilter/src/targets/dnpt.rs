//! `-j DNPT` (`ip6t_NPT.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

pub use super::npt::Prefixes;

/// `-j DNPT`: puts the destination address into another prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Dnpt(pub Box<Prefixes>);

impl Dnpt {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        self.0.check("DNPT", &[Hook::Prerouting, Hook::Output], cx)
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let Some(address) = self.0.map(cx.packet.headers.dst) else {
            // Parameter problem: the destination, at byte 24 of the header.
            super::reject::send_icmp_error(cx, 4, 0, 24);
            return TargetVerdict::Drop;
        };
        if let Some(place) = cx.packet.data.get_mut(24..24 + 16) {
            address.write(place);
        }
        cx.packet.headers.dst = address;
        // An error about a packet that went the other way quotes it as it was then.
        self.0.map_quoted(cx.packet, 8);
        TargetVerdict::Continue
    }
}
