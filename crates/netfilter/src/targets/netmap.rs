//! `-j NETMAP` (`xt_NETMAP.c`).

use fielato_wire::Addr;

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatFlags, NatRange};
use crate::verdict::TargetVerdict;

/// `-j NETMAP`: the bits of the mask are replaced, the others stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Netmap {
    /// `--to`: network and mask.
    pub to: Box<(Addr, Addr)>,
}

impl Netmap {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("NETMAP", &["nat"])?;
        cx.only_hooks("NETMAP", &[Hook::Prerouting, Hook::Output, Hook::Postrouting, Hook::Input])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let (network, mask) = *self.to;
        let headers = &cx.packet.headers;
        let Some(manip) = Manip::at(cx.hook) else {
            return TargetVerdict::Drop;
        };
        let old = match manip {
            Manip::Source => headers.src,
            Manip::Destination => headers.dst,
        };
        let address = old.and(mask.not(headers.family)).or(network.and(mask));
        let range = NatRange {
            flags: NatFlags(NatFlags::MAP_IPS),
            min_addr: address,
            max_addr: address,
            ..NatRange::default()
        };
        super::setup_nat(cx, &range, manip)
    }
}
