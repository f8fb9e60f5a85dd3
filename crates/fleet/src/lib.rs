//! The hub and its protected hosts: who says what to whom, and what follows from it.
//!
//! The hub publishes a plan for each host under a revision; a host's agent applies it and acknowledges. Between two revisions
//! only the [difference](Delta) goes over the wire. [`Hub`] and [`Agent`] are the two ends as state machines. Sans-IO: bytes,
//! connections, the time and the seed of randomness come in as arguments, bytes and orders go out.
//!
//! Who a host is, WireGuard has proven before the first byte: the identity of a connection is the overlay address it comes from.

pub mod agent;
mod delta;
pub mod hub;
mod line;
mod message;
mod state;

pub use agent::Agent;
pub use delta::{Delta, DeltaError, SetChange, TunnelDelta};
pub use hub::Hub;
pub use message::{PLAN_LINE_MAX, REQUEST_LINE_MAX, ToHost, ToHub, VERSION, line};
pub use state::{Digest, HostState, canonical};

use std::time::Instant;

use jiff::Timestamp;

/// The time, by two clocks: deadlines must not move when the machine's clock is set, and people want dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back.
    pub instant: Instant,
    /// The machine's clock.
    pub clock: Timestamp,
}
