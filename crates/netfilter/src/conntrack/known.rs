//! The short way for packets of connections in the table: found without a change, then tracked. The engine's flow cache
//! takes it.

use fielato_wire::number;

use super::{ConnId, Conntrack, CtState, Direction, ProtoVerdict, Zone, extract};
use crate::{Hook, Now, Packet};

/// A packet's place in a connection that is in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) id: ConnId,
    pub(crate) direction: Direction,
    pub(crate) state: CtState,
}

/// What tracking said of a packet of a known connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It belongs to it; [`Packet::ct`] is set.
    Accept,
    /// It is INVALID.
    Invalid,
    /// It is to be tracked the long way.
    Again,
}

impl Conntrack {
    /// The connection of a packet, without changing it; `None` when the long way must decide. ICMP goes the long way, since it
    /// may be an error about another connection; so does what a helper reads.
    pub(crate) fn known(&mut self, packet: &Packet, now: Now) -> Option<Known> {
        if matches!(packet.headers.protocol, number::ICMP | number::ICMPV6) || !extract::has_transport(&packet.headers) {
            return None;
        }
        self.advance(now);
        let tuple = extract::tuple(&packet.headers, packet.transport(), &self.trackers)?;
        let (id, direction) = self.lookup(&tuple, Zone::default())?;
        let conn = self.get(id)?;
        let ordinary = conn.helper.is_none() && !conn.status.has(super::Status::SEQ_ADJUST);
        ordinary.then(|| Known {
            id,
            direction,
            state: conn.state(direction),
        })
    }

    /// Tracks a packet of a known connection.
    pub(crate) fn follow(&mut self, packet: &mut Packet, known: &Known, hook: Hook, now: Now) -> Followed {
        match self.judge(packet, hook, known.id, known.direction, now) {
            ProtoVerdict::Accept | ProtoVerdict::Ignore => Followed::Accept,
            ProtoVerdict::Invalid => {
                self.invalid(packet);
                Followed::Invalid
            }
            ProtoVerdict::Repeat => {
                self.forget(known.id);
                Followed::Again
            }
            ProtoVerdict::Drop => Followed::Again,
        }
    }
}
