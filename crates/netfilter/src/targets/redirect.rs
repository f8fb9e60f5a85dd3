//! `-j REDIRECT` (`nf_nat_redirect.c`).

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::{Addr, Family};

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatFlags, NatRange};
use crate::verdict::TargetVerdict;

/// `-j REDIRECT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redirect {
    /// `--random`, and whether ports are given.
    pub flags: NatFlags,
    /// `--to-ports`, the first.
    pub min_port: u16,
    /// `--to-ports`, the last.
    pub max_port: u16,
}

impl Redirect {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("REDIRECT", &["nat"])?;
        cx.only_hooks("REDIRECT", &[Hook::Prerouting, Hook::Output])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let family = cx.packet.headers.family;
        // Packets made here go to the loopback address, others to the first address of the interface they came in by.
        let address = match (cx.hook, family) {
            (Hook::Output, Family::V4) => Some(Ipv4Addr::LOCALHOST.into()),
            (Hook::Output, Family::V6) => Some(Ipv6Addr::LOCALHOST.into()),
            _ => cx.host.interface_address(family, cx.packet.in_interface, Addr::ZERO),
        };
        let Some(address) = address else {
            return TargetVerdict::Drop;
        };
        let range = NatRange {
            flags: NatFlags(self.flags.0 | NatFlags::MAP_IPS),
            min_addr: address,
            max_addr: address,
            min_port: self.min_port,
            max_port: self.max_port,
            base_port: 0,
        };
        super::setup_nat(cx, &range, Manip::Destination)
    }
}
