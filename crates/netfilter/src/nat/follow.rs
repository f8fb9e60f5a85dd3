//! An expected connection is led to where its master's translation leads (`nf_nat_follow_master`).

use super::{Manip, NatFlags, NatRange, setup};
use crate::conntrack::{ConnId, Conntrack, ExpectNat};

/// Binds both ends of a new connection that was expected under NAT; does nothing to others. Its source becomes the address that
/// the master sends to, its destination the place that was announced before the announcement was rewritten.
pub(crate) fn follow_master(conntrack: &mut Conntrack, id: ConnId, rng: &mut fastrand::Rng) {
    let Some(conn) = conntrack.get_mut(id) else {
        return;
    };
    let follow = conn.extra.as_mut().and_then(|extra| extra.follow.take());
    let (
        Some(master),
        Some(ExpectNat::Follow {
            direction, saved_port, ..
        }),
    ) = (conn.master, follow)
    else {
        return;
    };
    let Some(master) = conntrack.get(master).map(|master| *master.tuple(direction.reverse())) else {
        return;
    };
    let source = NatRange {
        flags: NatFlags(NatFlags::MAP_IPS),
        min_addr: master.dst,
        max_addr: master.dst,
        ..NatRange::default()
    };
    let destination = NatRange {
        flags: NatFlags(NatFlags::MAP_IPS | NatFlags::PROTO_SPECIFIED),
        min_addr: master.src,
        max_addr: master.src,
        min_port: saved_port,
        max_port: saved_port,
        ..NatRange::default()
    };
    setup(conntrack, id, &[source], Manip::Source, rng);
    setup(conntrack, id, &[destination], Manip::Destination, rng);
}
