//! The talk's three machines in network namespaces, and the scenarios that run on them: the talk itself, and lock-out drills.
//!
//! ```text
//!   client-a                    vpn-core                    client-b
//!   eth0 10.0.123.3             eth0 10.0.123.2             eth0 10.0.123.4
//!        fd00:123::3                 fd00:123::2                 fd00:123::4
//!   wg0  192.168.4.2            wg0  192.168.4.1            wg0  192.168.4.3
//!        fd00:4::2                   fd00:4::1                   fd00:4::3
//!      │                           │                           │
//!      └───────────────────────────┴───────── switch ──────────┘
//! ```
//!
//! Each machine is a network namespace with its own directories; the switch is a bridge in a fourth one. Nothing is made in
//! the namespace of the caller but the names of these.

pub mod drills;
mod gateway;
mod interrupt;
mod lab;
mod machine;
mod process;
mod report;
pub mod talk;
mod topology;

pub use gateway::Engine;
pub use interrupt::{Interrupt, Interrupted};
pub use lab::{DEFAULT_NAME, Lab, LabOptions, TemporaryLab};
pub use machine::{Call, Machine, Output};
pub use report::{Check, Outcome, Report, Step};
pub use topology::{Family, Node};
