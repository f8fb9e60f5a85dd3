//! prio's parameters.

use serde::{Deserialize, Serialize};

/// Parameters of prio (`man 8 tc-prio`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prio {
    /// Number of bands, 2 to 16; the first is served first.
    pub bands: u8,
    /// The band, from 0, of each of the 16 packet priorities.
    pub priomap: [u8; 16],
}

/// The bands of a new prio.
pub const DEFAULT_BANDS: u8 = 3;

/// The map of a new prio: interactive packets to the first of three bands, bulk to the last.
pub const DEFAULT_PRIOMAP: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

impl Default for Prio {
    fn default() -> Self {
        Prio {
            bands: DEFAULT_BANDS,
            priomap: DEFAULT_PRIOMAP,
        }
    }
}
