//! What a match or target sees, and what it may cause.

use crate::conntrack::Conntrack;
use crate::{Hook, Host, Now, Packet};

/// A packet at a hook, with everything that rules may ask about it.
pub struct Context<'a> {
    /// The packet.
    pub packet: &'a mut Packet,
    /// The hook.
    pub hook: Hook,
    /// Connections. [`Packet::ct`] says which one is the packet's.
    pub conntrack: &'a mut Conntrack,
    /// State that rules share by name: `recent`, `hashlimit`, `connlimit`, `rateest`, sets.
    pub shared: &'a mut Shared,
    /// The machine around.
    pub host: &'a mut dyn Host,
    /// Randomness.
    pub rng: &'a mut fastrand::Rng,
    /// What else is to happen.
    pub effects: &'a mut Vec<Effect>,
    /// The moment.
    pub now: Now,
    /// Set by a match that finds the packet malformed: the packet is dropped.
    pub hotdrop: bool,
}

/// What a packet's way caused beside its verdict. The embedder carries these out, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// LOG: a line for the kernel log.
    Log {
        /// syslog's level, 0 to 7.
        level: u8,
        /// The line, in the kernel's format.
        line: String,
    },
    /// NFLOG: the packet, for a log reader.
    NfLog {
        /// Group.
        group: u16,
        /// Prefix.
        prefix: String,
        /// Hook.
        hook: Hook,
        /// The packet, cut to the rule's size.
        packet: Box<Packet>,
    },
    /// TRACE: the packet met a rule, the end of a chain or a policy.
    Trace {
        /// `TABLE:CHAIN:rule:NUMBER`, as the kernel words it.
        place: String,
        /// Hook.
        hook: Hook,
        /// The packet as it was there.
        packet: Box<Packet>,
    },
    /// A packet made here (REJECT, SYNPROXY), to be sent through [`Hook::Output`]. The engine does that itself and gives
    /// [`Effect::Transmit`]; an embedder meets this one only when it calls single hooks.
    Send(Box<Packet>),
    /// An answer that passed LOCAL_OUT and POST_ROUTING: to be sent by its [`Packet::out_interface`]; without one it is for this
    /// host and passed LOCAL_IN, too.
    Transmit(Box<Packet>),
    /// TEE: a copy to be sent to a gateway.
    Copy {
        /// The next hop.
        gateway: fielato_wire::Addr,
        /// The copy.
        packet: Box<Packet>,
    },
    /// AUDIT: a line for the audit log.
    Audit {
        /// The line.
        line: String,
    },
}

/// State that rules share by name. Each kind is bounded.
#[derive(Debug, Default)]
pub struct Shared {
    /// Tables of `-m hashlimit`.
    pub hashlimit: crate::shared::hashlimit::Tables,
    /// Timers of `-j IDLETIMER`.
    pub idletimer: crate::shared::idletimer::Timers,
    /// Lamps of `-j LED`.
    pub led: crate::shared::led::Lamps,
    /// Accounting objects of `-m nfacct`.
    pub nfacct: crate::shared::nfacct::Objects,
    /// Rate estimators of `-j RATEEST`.
    pub rateest: crate::shared::rateest::Estimators,
    /// Lists of `-m recent`.
    pub recent: crate::shared::recent::Lists,
    /// Sets of `-m set` and `-j SET`.
    pub sets: crate::sets::Sets,
}

/// A rule's own state, one for each match and target of a compiled rule.
#[derive(Debug, Default)]
pub enum Slot {
    /// None.
    #[default]
    None,
    /// Credit and the time of its last refill (`limit`, `hashlimit`).
    Bucket {
        /// Credit, in the match's unit.
        credit: u64,
        /// When it was last refilled, in the match's unit.
        last: u64,
    },
    /// A count (`quota`, `statistic --mode nth`).
    Count(u64),
    /// Connections by address (`connlimit`).
    Connections(Box<crate::matches::connlimit::Connections>),
    /// An extension's.
    Extension(Box<dyn std::any::Any + Send>),
}
