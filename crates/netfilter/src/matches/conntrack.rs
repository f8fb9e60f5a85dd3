//! `-m conntrack` (`net/netfilter/xt_conntrack.c`, revision 3).

use fielato_wire::{Addr, Family};

use super::Range;
use crate::PacketCt;
use crate::check::{CheckContext, CheckError};
use crate::conntrack::{Conn, CtState, Direction, Status, Tuple};
use crate::context::{Context, Slot};
use crate::rule::AddressMatch;
use crate::{Now, Packet};

/// A set of connection states, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(pub u8);

impl States {
    /// No connection.
    pub const INVALID: u8 = 1 << 0;
    /// Packets have been seen both ways.
    pub const ESTABLISHED: u8 = 1 << 1;
    /// Belongs to another connection.
    pub const RELATED: u8 = 1 << 2;
    /// Nothing came back yet.
    pub const NEW: u8 = 1 << 3;
    /// The source is translated.
    pub const SNAT: u8 = 1 << 4;
    /// The destination is translated.
    pub const DNAT: u8 = 1 << 5;
    /// Excluded from tracking.
    pub const UNTRACKED: u8 = 1 << 6;

    /// The state a packet is in. SNAT and DNAT come from the connection.
    fn of(packet: &Packet) -> u8 {
        match packet.ct {
            // `-j CT` gave it a template, which stands in for the connection until there is one.
            PacketCt::None if packet.template.is_some() => States::NEW,
            PacketCt::None | PacketCt::AnswersUntracked => States::INVALID,
            PacketCt::Untracked => States::UNTRACKED,
            PacketCt::Tracked { state, .. } => match state {
                CtState::New => States::NEW,
                CtState::Established => States::ESTABLISHED,
                CtState::Related => States::RELATED,
            },
        }
    }
}

/// `--ctstate` or `--state`: the packet is in one of these states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateMatch {
    /// The states.
    pub states: States,
    /// `!`
    pub negated: bool,
}

impl StateMatch {
    /// Whether it holds for the packet of `cx`.
    #[inline]
    pub(crate) fn holds(&self, cx: &Context<'_>) -> bool {
        let mut state = States::of(cx.packet);
        if self.states.0 & (States::SNAT | States::DNAT) != 0
            && let Some(conn) = cx.conntrack.of(cx.packet)
        {
            state |= if conn.status.has(Status::SRC_NAT) { States::SNAT } else { 0 };
            state |= if conn.status.has(Status::DST_NAT) { States::DNAT } else { 0 };
        }
        (self.states.0 & state != 0) != self.negated
    }

    /// Whether the answer stays while the packet's state does: translation may be decided between two hooks.
    pub(crate) fn per_flow(&self) -> bool {
        self.states.0 & (States::SNAT | States::DNAT) == 0
    }
}

/// Addresses and ports of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// `--ctorigsrc`, `--ctreplsrc`
    pub source: Option<AddressMatch>,
    /// `--ctorigdst`, `--ctrepldst`
    pub destination: Option<AddressMatch>,
    /// `--ctorigsrcport`, `--ctreplsrcport`
    pub sport: Option<Range<u16>>,
    /// `--ctorigdstport`, `--ctrepldstport`
    pub dport: Option<Range<u16>>,
}

/// What needs a connection to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// `--ctdir`
    pub direction: Option<Direction>,
    /// `--ctproto`
    pub protocol: Option<Range<u8>>,
    /// By [`Direction::index`].
    pub ends: [Ends; 2],
    /// `--ctstatus`: any of these [`Status`] bits; none of them for NONE, which holds only negated.
    pub status: Option<u32>,
    /// `! --ctstatus`
    pub status_negated: bool,
    /// `--ctexpire`: seconds left.
    pub expires: Option<Range<u32>>,
}

/// `-m conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// `--ctstate`
    pub state: Option<StateMatch>,
    /// The rest, when something of it is asked for.
    pub criteria: Option<Box<Criteria>>,
}

impl Conntrack {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    /// Status bits and the time left change from packet to packet, the rest doesn't.
    pub(crate) fn per_flow(&self) -> bool {
        self.state.is_none_or(|state| state.per_flow())
            && self
                .criteria
                .as_ref()
                .is_none_or(|criteria| criteria.status.is_none() && criteria.expires.is_none())
    }

    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        if self.state.is_some_and(|state| !state.holds(cx)) {
            return false;
        }
        if cx.packet.ct == PacketCt::None
            && cx.packet.template.is_some()
            && let Some(criteria) = &self.criteria
        {
            return criteria.hold(&template(cx.packet.headers.family), Direction::Original, cx.now);
        }
        let PacketCt::Tracked { id, direction, .. } = cx.packet.ct else {
            // Of a packet without connection only the state is asked.
            return self.state.is_some();
        };
        match (&self.criteria, cx.conntrack.get(id)) {
            (None, _) => true,
            (Some(criteria), Some(conn)) => criteria.hold(conn, direction, cx.now),
            (Some(_), None) => self.state.is_some(),
        }
    }
}

/// A template as a connection: without addresses (`nf_ct_tmpl_alloc`, `xt_ct_tg_check`).
fn template(family: Family) -> Conn {
    let tuple = Tuple {
        src: Addr::ZERO,
        dst: Addr::ZERO,
        sport: 0,
        dport: 0,
        protocol: 0,
        family,
    };
    let mut conn = Conn::new(tuple, tuple);
    conn.status.set(Status::TEMPLATE | Status::CONFIRMED);
    conn
}

impl Criteria {
    fn hold(&self, conn: &Conn, direction: Direction, now: Now) -> bool {
        let Criteria {
            direction: wanted,
            protocol,
            ends,
            status,
            status_negated,
            expires,
        } = self;
        wanted.is_none_or(|wanted| wanted == direction)
            && ends.iter().zip(&conn.tuples).all(|(ends, tuple)| {
                ends.source.is_none_or(|source| source.matches(tuple.src))
                    && ends.destination.is_none_or(|destination| destination.matches(tuple.dst))
                    && ends.sport.is_none_or(|sport| sport.holds(tuple.sport))
                    && ends.dport.is_none_or(|dport| dport.holds(tuple.dport))
            })
            && protocol.is_none_or(|protocol| protocol.holds(conn.tuples[0].protocol))
            && status.is_none_or(|bits| conn.status.has(bits) != *status_negated)
            && expires.is_none_or(|expires| expires.holds(seconds_left(conn, now)))
    }
}

/// Seconds until a connection expires; 0 until it is in the table (`nf_ct_expires`).
fn seconds_left(conn: &Conn, now: Now) -> u32 {
    if !conn.status.has(Status::CONFIRMED) {
        return 0;
    }
    let left = conn.deadline.saturating_sub(now.mono) / Now::SECOND;
    u32::try_from(left).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "conntrack_tests.rs"]
mod tests;
