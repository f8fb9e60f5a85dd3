//! Time as an argument.

/// The moment at which something happens: a clock that never goes back, and the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Nanoseconds on a monotonic clock of the embedder's choice. Timeouts and rates use this one.
    pub mono: u64,
    /// Nanoseconds since 1970-01-01 00:00 UTC. The `time` match and time stamps use this one.
    pub wall: u64,
}

impl Now {
    /// Nanoseconds in a second.
    pub const SECOND: u64 = 1_000_000_000;

    /// A moment `seconds` after zero on both clocks, for tests.
    pub const fn from_secs(seconds: u64) -> Now {
        Now {
            mono: seconds * Now::SECOND,
            wall: seconds * Now::SECOND,
        }
    }

    /// This moment plus `nanoseconds`, on both clocks.
    pub const fn plus(self, nanoseconds: u64) -> Now {
        Now {
            mono: self.mono.saturating_add(nanoseconds),
            wall: self.wall.saturating_add(nanoseconds),
        }
    }
}
