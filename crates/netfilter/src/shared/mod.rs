//! State that rules share by name, a kind a file. Each is bounded.

pub mod hashlimit;
pub mod idletimer;
pub mod led;
pub mod nfacct;
pub mod rateest;
pub mod recent;

/// Most names of one kind.
pub const MAX_NAMES: usize = 4096;
