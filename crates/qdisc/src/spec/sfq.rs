//! sfq's parameters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parameters of sfq (`man 8 tc-sfq`); the kernel's defaults when absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Sfq {
    /// Packets in all flows.
    pub limit: Option<u32>,
    /// Packets in one flow.
    pub depth: Option<u32>,
    /// Flows that can be told apart at one time.
    pub flows: Option<u32>,
    /// Size of the hash table, a power of two.
    pub divisor: Option<u32>,
    /// Bytes served per round.
    pub quantum: Option<u32>,
    /// How often flows are shuffled, in whole seconds; never when absent.
    pub perturb: Option<Duration>,
    /// Drop a flow's oldest packet instead of the newest.
    pub headdrop: bool,
}

impl Sfq {
    /// `SFQ_MAX_DEPTH`
    pub const MAX_DEPTH: u32 = 127;
    /// `SFQ_MAX_FLOWS`
    pub const MAX_FLOWS: u32 = 0x10000 - Self::MAX_DEPTH - 1;
    /// `SFQ_DEFAULT_FLOWS`
    pub const DEFAULT_FLOWS: u32 = 128;
    /// `SFQ_DEFAULT_HASH_DIVISOR`
    pub const DEFAULT_DIVISOR: u32 = 1024;
}
