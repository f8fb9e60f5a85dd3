//! The short way for packets of connections in the table: found without a change, then advanced ([`crate::engine`]'s flow cache).

use super::{ConnId, Conntrack, CtState, Direction};
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
pub(crate) enum Advanced {
    /// It belongs to it; [`Packet::ct`] is set.
    Accept,
    /// It is INVALID.
    Invalid,
    /// It is to be tracked the long way; nothing was changed.
    Again,
}

impl Conntrack {
    /// The connection of a packet, without changing anything; `None` when the long way must decide.
    pub(crate) fn known(&self, packet: &Packet, now: Now) -> Option<Known> {
        let _ = (packet, now);
        None
    }

    /// Tracks a packet of a known connection.
    pub(crate) fn advance(&mut self, packet: &mut Packet, known: &Known, hook: Hook, now: Now) -> Advanced {
        let _ = (packet, known, hook, now);
        Advanced::Again
    }
}
