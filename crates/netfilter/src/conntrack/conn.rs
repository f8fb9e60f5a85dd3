//! One connection.

use std::num::NonZeroU32;

use fielato_wire::number;

use super::{Direction, ProtoState, Tuple};
use crate::Counters;

/// Handle of a connection: a place in the table and the generation of what lives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) index: u32,
    /// Never 0, so that a handle that there may be takes no more room than one.
    pub(crate) generation: NonZeroU32,
}

/// A packet's connection state, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtState {
    /// The first packets, as long as nothing came back.
    New,
    /// Packets have been seen both ways.
    Established,
    /// A new connection, or an ICMP error, that belongs to another connection.
    Related,
}

/// Conntrack zone: connections in different zones are different (`--zone`). Applies to both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone {
    /// Number; 0 is the default zone.
    pub id: u16,
    /// Directions in which it counts: bit 0 original, bit 1 reply (`--zone-orig`, `--zone-reply`); 0 means both, as 3 does.
    pub directions: u8,
}

impl Zone {
    /// The zone number that counts in this direction.
    pub const fn in_direction(self, direction: Direction) -> u16 {
        if self.directions == 0 || self.directions & (1 << direction as u8) != 0 {
            self.id
        } else {
            0
        }
    }
}

/// Status bits of a connection (`enum ip_conntrack_status`, the kernel's values).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// It was expected by another connection.
    pub const EXPECTED: u32 = 1 << 0;
    /// Packets have been seen both ways.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// It is not dropped early.
    pub const ASSURED: u32 = 1 << 2;
    /// It is in the table.
    pub const CONFIRMED: u32 = 1 << 3;
    /// Its source is rewritten.
    pub const SRC_NAT: u32 = 1 << 4;
    /// Its destination is rewritten.
    pub const DST_NAT: u32 = 1 << 5;
    /// TCP sequence numbers are adjusted.
    pub const SEQ_ADJUST: u32 = 1 << 6;
    /// Source NAT was decided (a null binding too).
    pub const SRC_NAT_DONE: u32 = 1 << 7;
    /// Destination NAT was decided.
    pub const DST_NAT_DONE: u32 = 1 << 8;
    /// On its way out.
    pub const DYING: u32 = 1 << 9;
    /// Its timeout is not refreshed.
    pub const FIXED_TIMEOUT: u32 = 1 << 10;
    /// A template (`-j CT`).
    pub const TEMPLATE: u32 = 1 << 11;
    /// Only its reply tuple is in the table: it lost against a connection that answers from elsewhere.
    pub const NAT_CLASH: u32 = 1 << 12;
    /// A helper was assigned.
    pub const HELPER: u32 = 1 << 13;

    /// Whether any of `bits` is set.
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether all of `bits` are set.
    pub const fn has_all(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Sets `bits`.
    pub const fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }
}

/// What `-j CT --helper` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelperKind {
    /// FTP control connections (RFC 959, RFC 2428).
    Ftp,
    /// TFTP (RFC 1350).
    Tftp,
    /// One of the kernel's others: a name that rules may give and ask for. It reads nothing and expects nothing.
    Named(NamedHelper),
}

/// A helper of the kernel that is a name only, here: its place in the list of them, so that a connection stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamedHelper(u8);

struct HelperFacts {
    name: &'static str,
    protocols: &'static [u8],
    both_families: bool,
}

/// Names, protocols and families that kernel 6.18 takes (`nf_conntrack_*.c`, `nf_nat_snmp_basic_main.c`). H.245 stands there
/// with UDP.
static NAMED: [HelperFacts; 11] = [
    HelperFacts::new("amanda", &[number::UDP]).both(),
    HelperFacts::new("H.245", &[number::UDP]).both(),
    HelperFacts::new("Q.931", &[number::TCP]).both(),
    HelperFacts::new("RAS", &[number::UDP]).both(),
    HelperFacts::new("irc", &[number::TCP]),
    HelperFacts::new("netbios-ns", &[number::UDP]),
    HelperFacts::new("pptp", &[number::TCP]),
    HelperFacts::new("sane", &[number::TCP]).both(),
    HelperFacts::new("sip", &[number::TCP, number::UDP]).both(),
    HelperFacts::new("snmp", &[number::UDP]),
    HelperFacts::new("snmp_trap", &[number::UDP]),
];

impl NamedHelper {
    const fn facts(self) -> &'static HelperFacts {
        &NAMED[self.0 as usize]
    }
}

impl HelperFacts {
    /// One for IPv4 only.
    const fn new(name: &'static str, protocols: &'static [u8]) -> HelperFacts {
        HelperFacts {
            name,
            protocols,
            both_families: false,
        }
    }

    const fn both(self) -> HelperFacts {
        HelperFacts {
            both_families: true,
            ..self
        }
    }
}

impl HelperKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            HelperKind::Ftp => "ftp",
            HelperKind::Tftp => "tftp",
            HelperKind::Named(helper) => helper.facts().name,
        }
    }

    /// The transport protocols that it can be given to.
    pub const fn protocols(self) -> &'static [u8] {
        match self {
            HelperKind::Ftp => &[number::TCP],
            HelperKind::Tftp => &[number::UDP],
            HelperKind::Named(helper) => helper.facts().protocols,
        }
    }

    /// Whether it is for IPv6 too; all are for IPv4.
    pub const fn takes_v6(self) -> bool {
        match self {
            HelperKind::Ftp | HelperKind::Tftp => true,
            HelperKind::Named(helper) => helper.facts().both_families,
        }
    }

    /// The helper of this name.
    pub fn from_name(name: &str) -> Option<HelperKind> {
        match name {
            "ftp" => Some(HelperKind::Ftp),
            "tftp" => Some(HelperKind::Tftp),
            _ => {
                let place = NAMED.iter().position(|helper| helper.name == name)?;
                Some(HelperKind::Named(NamedHelper(place as u8)))
            }
        }
    }
}

/// A connection. The fields stand in the order in which packets need them: the first two cache lines are enough to find it and
/// its path, the third has all else that a packet without a window to check changes.
#[derive(Debug)]
#[repr(C)]
pub struct Conn {
    /// The tuple of each direction, by [`Direction::index`]. The reply's is not the mere inverse when NAT is at work.
    pub tuples: [Tuple; 2],
    /// When it expires, in nanoseconds of [`crate::Now::mono`].
    pub deadline: u64,
    /// Status bits.
    pub status: Status,
    /// The connection's mark (`connmark`).
    pub mark: u32,
    /// Zone.
    pub zone: Zone,
    /// The path that packets of each direction take, once known.
    pub cache: [crate::engine::CacheRef; 2],
    /// The helper that reads its packets.
    pub helper: Option<HelperKind>,
    /// What few connections have.
    pub extra: Option<Box<Extra>>,
    /// What passed in each direction.
    pub counters: [Counters; 2],
    /// The protocol's own state.
    pub proto: ProtoState,
    /// The connection that expected this one.
    pub master: Option<ConnId>,
    /// Number of the interface whose address it was given (MASQUERADE); 0 when it was given none.
    pub masqueraded_by: u32,
    /// In which round of judging it was found admitted, or began ([`crate::Netfilter::judge_again`]).
    pub(crate) round: u32,
}

/// What remains to be known of a connection that expected another.
#[derive(Clone, Copy, Debug)]
pub struct Master {
    /// Its original tuple.
    pub tuple: Tuple,
    /// The helper that read its packets.
    pub helper: Option<HelperKind>,
}

/// What few connections have, out of the way of the many.
#[derive(Debug, Default)]
pub struct Extra {
    /// Labels (`connlabel`).
    pub labels: u128,
    /// Sequence number adjustment of each direction.
    pub sequence: [crate::nat::SeqAdjust; 2],
    /// Positions at which the helper expects a line to begin, per direction (FTP).
    pub line_starts: [Vec<u32>; 2],
    /// Timeouts given by `-j CT --timeout`, if any, in seconds by protocol state.
    pub timeouts: Option<Vec<u32>>,
    /// Events wanted (`-j CT --ctevents`), a mask; `None` for all.
    pub events: Option<u32>,
    /// Expectation events wanted.
    pub expect_events: Option<u32>,
    /// What NAT is to do with the connection because it was expected; NAT takes it.
    pub follow: Option<super::ExpectNat>,
    /// What the connection that expected this one was. It may end first: the kernel then keeps it for this one's sake
    /// (`nf_conntrack_get(&exp->master->ct_general)` in `init_conntrack`).
    pub master: Option<Master>,
    /// Places of the expectations that this connection's helper has announced, oldest first.
    pub(super) expecting: Vec<u32>,
}

impl Conn {
    /// A connection of two tuples, with everything else at its beginning.
    pub fn new(original: Tuple, reply: Tuple) -> Conn {
        Conn {
            tuples: [original, reply],
            status: Status::default(),
            mark: 0,
            zone: Zone::default(),
            counters: [Counters::default(); 2],
            deadline: 0,
            proto: ProtoState::None,
            master: None,
            masqueraded_by: 0,
            round: 0,
            helper: None,
            cache: Default::default(),
            extra: None,
        }
    }

    /// The tuple of a direction.
    #[inline]
    pub const fn tuple(&self, direction: Direction) -> &Tuple {
        &self.tuples[direction.index()]
    }

    /// The state of a packet that goes in `direction` now.
    #[inline]
    pub const fn state(&self, direction: Direction) -> CtState {
        if matches!(direction, Direction::Reply) || self.status.has(Status::SEEN_REPLY) {
            CtState::Established
        } else if self.status.has(Status::EXPECTED) {
            CtState::Related
        } else {
            CtState::New
        }
    }

    /// What the connection that expected this one is, or was.
    pub fn known_master(&self) -> Option<&Master> {
        self.extra.as_ref()?.master.as_ref()
    }

    /// Whether either end is rewritten.
    pub const fn is_translated(&self) -> bool {
        self.status.has(Status::SRC_NAT | Status::DST_NAT)
    }

    /// The rare parts, made when first needed.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}
