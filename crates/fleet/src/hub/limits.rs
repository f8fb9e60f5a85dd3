//! What one host can take of the hub.

use std::time::Duration;

/// Limits, so that no host can take more of the hub than its part.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of one host. Two, so that a new one can be greeted while the hub has not yet noticed that the old one is dead.
    pub connections: usize,
    /// Lines a second, on average.
    pub lines_per_second: u32,
    /// Lines at once.
    pub burst: u32,
    /// Connections that a host may open in quick succession; later, one a second.
    pub openings: u32,
    /// Until the first line, for a line once begun, and without any progress in sending.
    pub patience: Duration,
    /// Silence after which a host is asked whether it is there.
    pub ask_after: Duration,
    /// Silence after which it is taken for gone.
    pub silence: Duration,
    /// Plans kept for each host: one that enforces an older one gets the whole plan instead of a difference.
    pub history: usize,
    /// How long a host that broke the rules is kept away at first; doubles each time.
    pub penalty: Duration,
    /// How long at most.
    pub penalty_max: Duration,
    /// Events kept until somebody fetches them.
    pub events: usize,
    /// How often deadlines are looked at.
    pub tick: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2,
            lines_per_second: 20,
            burst: 50,
            openings: 10,
            patience: Duration::from_secs(10),
            ask_after: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            history: 16,
            penalty: Duration::from_secs(1),
            penalty_max: Duration::from_secs(60),
            events: 16_384,
            tick: Duration::from_secs(1),
        }
    }
}
