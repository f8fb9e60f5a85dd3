//! `-j MASQUERADE` (`nf_nat_masquerade.c`).

use fielato_wire::{Addr, Family};

use crate::check::{CheckContext, CheckError};
use crate::conntrack::{CtState, Direction};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatFlags, NatRange};
use crate::verdict::TargetVerdict;
use crate::{Hook, PacketCt};

/// `-j MASQUERADE`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masquerade {
    /// `--random`, `--random-fully`, and whether ports are given.
    pub flags: NatFlags,
    /// `--to-ports`, the first.
    pub min_port: u16,
    /// `--to-ports`, the last.
    pub max_port: u16,
}

impl Masquerade {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("MASQUERADE", &["nat"])?;
        cx.only_hooks("MASQUERADE", &[Hook::Postrouting])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let PacketCt::Tracked { id, state, .. } = cx.packet.ct else {
            return TargetVerdict::Continue;
        };
        if state == CtState::Established {
            return TargetVerdict::Accept;
        }
        // 0.0.0.0 asks for an address (DHCP): there is nothing to hide.
        let unspecified = |conn: &crate::conntrack::Conn| conn.tuple(Direction::Original).src == Addr::ZERO;
        if cx.conntrack.get(id).is_some_and(unspecified) {
            return TargetVerdict::Accept;
        }
        let headers = &cx.packet.headers;
        let (family, interface, dst) = (headers.family, cx.packet.out_interface, headers.dst);
        // An IPv4 loopback lends no address of its own: the first of another interface's, wherever the packet goes (`inet_select_addr`).
        let lent = family == Family::V4 && cx.host.is_loopback(interface);
        let dst = if lent { Addr::ZERO } else { dst };
        let Some(address) = cx.host.interface_address(family, interface, dst) else {
            return TargetVerdict::Drop;
        };
        if let Some(conn) = cx.conntrack.get_mut(id) {
            conn.masqueraded_by = interface.index;
        }
        let range = NatRange {
            flags: NatFlags(self.flags.0 | NatFlags::MAP_IPS),
            min_addr: address,
            max_addr: address,
            min_port: self.min_port,
            max_port: self.max_port,
            base_port: 0,
        };
        super::setup_nat(cx, &range, Manip::Source)
    }
}
