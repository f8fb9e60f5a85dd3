//! What disciplines and classes count.

use serde::Serialize;

use crate::discipline::{FqCodelStats, NetemStats, Queued};
use crate::drop::DropReason;
use crate::spec::{Handle, Parent};

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

/// The counts of one discipline or class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Its handle or class identifier.
    pub handle: Handle,
    /// Where it hangs.
    pub parent: Parent,
    /// Its kind's name.
    pub kind: &'static str,
    /// Whether it is a class.
    pub class: bool,
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

/// What only one kind of discipline or class counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Extra {
    /// Nothing.
    #[default]
    None,
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
    pub(crate) fn new(
        handle: Handle,
        parent: Parent,
        kind: &'static str,
        class: bool,
        counters: &Counters,
        extra: Extra,
    ) -> Self {
        Stats {
            handle,
            parent,
            kind,
            class,
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
}
