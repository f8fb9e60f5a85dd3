//! The network emulator's parameters (`man 8 tc-netem`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;

/// Parameters of the network emulator. Probabilities are percentages, 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Netem {
    /// Packets that may wait; 1,000 when absent.
    pub limit: Option<u32>,
    /// Added delay.
    pub delay: Duration,
    /// Random variation of the delay.
    pub jitter: Duration,
    /// How much a delay depends on the one before, percent.
    pub delay_correlation: f64,
    /// How delays spread within the jitter.
    pub distribution: Distribution,
    /// Which packets are lost.
    pub loss: Loss,
    /// Packets that would be lost are marked instead, where their ends speak ECN.
    pub ecn: bool,
    /// Duplicated packets, percent.
    pub duplicate: f64,
    /// Correlation of duplications, percent.
    pub duplicate_correlation: f64,
    /// Corrupted packets, percent.
    pub corrupt: f64,
    /// Correlation of corruptions, percent.
    pub corrupt_correlation: f64,
    /// Packets sent at once, ahead of delayed ones, percent.
    pub reorder: f64,
    /// Correlation of reorderings, percent.
    pub reorder_correlation: f64,
    /// Reorder only every n-th packet; 0 without reordering.
    pub gap: u32,
    /// Bytes per second; 0 for none.
    pub rate: u64,
    /// Bytes that the rate charges beside each packet's own.
    pub packet_overhead: i32,
    /// Bytes of payload in a link layer cell; 0 for none.
    pub cell_size: u32,
    /// Bytes that the rate charges for each cell.
    pub cell_overhead: i32,
    /// Packets leave in bursts.
    pub slot: Option<Slot>,
    /// Beginning of the random numbers; the embedder's when absent.
    pub seed: Option<u64>,
}

/// Which packets the emulator loses. Percent throughout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// `loss random PERCENT [CORRELATION]`: each on its own, or depending on the one before.
    Random {
        /// How many.
        percent: f64,
        /// How much one depends on the one before.
        correlation: f64,
    },
    /// `loss state P13 [P31 [P32 [P23 [P14]]]]`: a chain of four states. 1 and 2 pass packets (outside and within a burst of
    /// losses), 3 and 4 lose them (within a burst, and alone).
    State {
        /// From passing to a burst of losses.
        p13: f64,
        /// From a burst back to passing.
        p31: f64,
        /// From losing to passing within a burst.
        p32: f64,
        /// From passing to losing within a burst.
        p23: f64,
        /// From passing to a single loss.
        p14: f64,
    },
    /// `loss gemodel P [R [1-H [1-K]]]`: a good and a bad state (Gilbert and Elliott).
    Gilbert {
        /// From good to bad.
        p: f64,
        /// From bad to good.
        r: f64,
        /// Packets lost in the bad state.
        bad: f64,
        /// Packets lost in the good state.
        good: f64,
    },
}

impl Loss {
    /// No loss at all.
    pub const NONE: Loss = Loss::Random {
        percent: 0.0,
        correlation: 0.0,
    };
}

impl Default for Loss {
    fn default() -> Self {
        Loss::NONE
    }
}

/// Packets are collected and leave when a slot opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// When the next one opens.
    pub wait: SlotWait,
    /// Packets per slot; 0 for any number.
    pub packets: u32,
    /// Bytes per slot; 0 for any number.
    pub bytes: u32,
}

/// How long it is from one slot to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SlotWait {
    /// `slot MIN [MAX]`: anything between the two.
    Between(Duration, Duration),
    /// `slot distribution NAME DELAY JITTER`
    Spread {
        /// Its form.
        distribution: Distribution,
        /// Its middle.
        delay: Duration,
        /// Its width.
        jitter: Duration,
    },
}
