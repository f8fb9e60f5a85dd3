//! Why a packet was not sent.

use serde::Serialize;

/// Why a discipline dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The queue was at its limit of packets or bytes.
    Overlimit,
    /// One flow's share of the queue was at its limit, or there were more flows than it can tell apart (sfq).
    FlowLimit,
    /// The queue was at its limit of memory.
    Memory,
    /// It had waited too long and could not be marked instead (CoDel).
    Codel,
    /// Lost at random, as asked of netem.
    NetemLoss,
    /// Larger than the bucket, so that it could never be sent (tbf).
    TooBig,
    /// No class takes it: a filter named none that exists, and there is no default.
    NoClass,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 7] = [
        DropReason::Overlimit,
        DropReason::FlowLimit,
        DropReason::Memory,
        DropReason::Codel,
        DropReason::NetemLoss,
        DropReason::TooBig,
        DropReason::NoClass,
    ];

    /// Its name in statistics and traces.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Overlimit => "overlimit",
            DropReason::FlowLimit => "flow_limit",
            DropReason::Memory => "memory",
            DropReason::Codel => "codel",
            DropReason::NetemLoss => "netem_loss",
            DropReason::TooBig => "too_big",
            DropReason::NoClass => "no_class",
        }
    }
}
