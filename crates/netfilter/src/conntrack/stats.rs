//! Counters of connection tracking as a whole, with the kernel's names (`conntrack -S`).

/// What has happened since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// Packets that could not be tracked.
    pub invalid: u64,
    /// ICMP messages that were broken, or whose connection was not found.
    pub error: u64,
    /// Connections that entered the table.
    pub insert: u64,
    /// Connections that could not: their tuples were taken.
    pub insert_failed: u64,
    /// Packets dropped, because the table was full or their connection could not enter it.
    pub drop: u64,
    /// Packets dropped because the table was full.
    pub table_full: u64,
    /// Connections removed to make room.
    pub early_drop: u64,
    /// Packets whose connection clashed with an equal one, and that were given to it.
    pub clash_resolve: u64,
    /// Connections that ended by their timeout.
    pub expired: u64,
    /// Expectations made.
    pub expect_create: u64,
    /// Expectations removed.
    pub expect_delete: u64,
    /// Connections that had been expected.
    pub expect_new: u64,
}
