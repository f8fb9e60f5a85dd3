//! What disciplines and classes count.

use serde::Serialize;

use crate::discipline::{CodelStats, FqCodelStats, NetemStats, Queued};
use crate::drop::DropReason;
use crate::spec::{Handle, HtbClass, Parent, QdiscKind, Stab};

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes, as charged.
    pub bytes: u64,
}

/// What every discipline and class counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent; segments of a superpacket count as packets.
    pub sent: Amount,
    /// Waiting; a superpacket is one packet.
    pub backlog: Amount,
    /// Packets dropped here or below.
    pub dropped: u64,
    /// Packets dropped here, by reason.
    pub reasons: [u64; DropReason::ALL.len()],
    /// Times that sending had to wait for tokens, or a queue was full.
    pub overlimits: u64,
}

impl Counters {
    pub(crate) fn enters<P>(&mut self, queued: &Queued<P>) {
        self.backlog.packets += 1;
        self.backlog.bytes += u64::from(queued.bytes);
    }

    fn leaves<P>(&mut self, queued: &Queued<P>) {
        self.backlog.packets = self.backlog.packets.saturating_sub(1);
        self.backlog.bytes = self.backlog.bytes.saturating_sub(u64::from(queued.bytes));
    }

    pub(crate) fn sends<P>(&mut self, queued: &Queued<P>) {
        self.leaves(queued);
        self.sent.packets += u64::from(queued.segments);
        self.sent.bytes += u64::from(queued.bytes);
    }

    pub(crate) fn drops<P>(&mut self, queued: &Queued<P>, reason: DropReason) {
        self.leaves(queued);
        self.dropped += 1;
        self.reasons[reason as usize] += 1;
    }

    /// `queued` is taken apart or moved without being sent or dropped.
    pub(crate) fn forget<P>(&mut self, queued: &Queued<P>) {
        self.leaves(queued);
    }
}

/// What a discipline or class is and what it counted. Printed as `tc -s qdisc show` and `tc -s class show` do; serialized as
/// with `-j`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Its handle or class identifier.
    pub handle: Handle,
    /// Where it hangs.
    pub parent: Parent,
    /// The discipline in a class, if it has a handle.
    pub leaf: Option<Handle>,
    /// What it is, with all defaults filled in.
    pub shape: Shape,
    /// Sent.
    pub sent: Amount,
    /// Waiting.
    pub backlog: Amount,
    /// Packets dropped here or below.
    pub dropped: u64,
    /// Packets dropped here, by reason; those that occurred.
    pub reasons: Vec<(DropReason, u64)>,
    /// Times that sending had to wait for tokens, or a queue was full.
    pub overlimits: u64,
    /// What only this kind counts.
    pub extra: Extra,
}

/// What statistics are of.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A discipline.
    Qdisc {
        /// Its parameters.
        kind: QdiscKind,
        /// How it charges lengths, if not as they are.
        stab: Option<Stab>,
        /// Packets that wait where it has no class for them (htb).
        direct_qlen: u32,
    },
    /// A class of htb.
    HtbClass {
        /// Its parameters; bursts and quantum are given.
        class: HtbClass,
        /// Its level; 0 for a leaf.
        level: u32,
    },
    /// A class without parameters, of a discipline of this kind.
    Class(&'static str),
}

impl Shape {
    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Shape::Qdisc { kind, .. } => kind.name(),
            Shape::HtbClass { .. } => "htb",
            Shape::Class(kind) => kind,
        }
    }

    /// Whether it is a class, not a discipline.
    pub const fn is_class(&self) -> bool {
        matches!(self, Shape::HtbClass { .. } | Shape::Class(_))
    }
}

/// What only one kind of discipline or class counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Extra {
    /// Nothing.
    #[default]
    None,
    /// codel's.
    Codel(CodelStats),
    /// fq_codel's.
    FqCodel(FqCodelStats),
    /// netem's.
    Netem(NetemStats),
    /// An htb class.
    Htb(HtbCounts),
    /// htb itself.
    HtbDirect(HtbDirect),
}

/// What an htb class counts (`struct tc_htb_xstats`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HtbCounts {
    /// Packets sent by right, by this class or by those that borrowed from it.
    pub lended: u64,
    /// Packets sent with borrowed tokens.
    pub borrowed: u64,
    /// Packets larger than a rate table; there are none here, lengths are charged exactly.
    pub giants: u64,
    /// The rate's bucket, in ticks of 64 ns.
    pub tokens: i64,
    /// The ceiling's bucket, in ticks of 64 ns.
    pub ctokens: i64,
}

/// What htb counts for all its classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HtbDirect {
    /// Packets that belonged to no class and passed unshaped.
    pub direct_packets_stat: u64,
}

impl Stats {
    pub(crate) fn new(handle: Handle, parent: Parent, shape: Shape, counters: &Counters, extra: Extra) -> Self {
        Stats {
            handle,
            parent,
            leaf: None,
            shape,
            sent: counters.sent,
            backlog: counters.backlog,
            dropped: counters.dropped,
            reasons: std::iter::zip(DropReason::ALL, counters.reasons)
                .filter(|(_, count)| *count > 0)
                .collect(),
            overlimits: counters.overlimits,
            extra,
        }
    }

    /// A class, and the discipline in it.
    pub(crate) fn with_leaf(self, leaf: Handle) -> Self {
        Stats {
            leaf: (leaf.major != 0).then_some(leaf),
            ..self
        }
    }

    /// Whether it is a class.
    pub fn is_class(&self) -> bool {
        !matches!(self.shape, Shape::Qdisc { .. })
    }

    /// Its kind's name.
    pub fn kind(&self) -> &'static str {
        self.shape.kind()
    }

    /// Whether nobody asked for it: the queue that a class or an interface has by itself. `tc` does not show these.
    pub fn is_default(&self) -> bool {
        self.handle.major == 0
    }
}
