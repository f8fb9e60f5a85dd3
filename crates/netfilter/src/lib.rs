//! Netfilter in user space, sans-IO: hooks, tables, connection tracking, NAT, queues and extensions, with the kernel's verdicts.
//!
//! A [`Netfilter`] holds everything of one network namespace. The embedder gives it packets with the time, answers its
//! questions through [`Host`] (routes, addresses, sockets) and carries out what comes back in [`Effect`]s.

#![forbid(unsafe_code)]

pub mod check;
pub mod classify;
pub mod conntrack;
pub mod context;
mod edit;
pub mod engine;
pub mod hook;
pub mod host;
pub mod interface;
mod jhash;
mod log_line;
pub mod matches;
pub mod nat;
pub mod packet;
pub mod queue;
pub mod rule;
pub mod sets;
pub mod shared;
mod summed;
pub mod syntax;
pub mod table;
pub mod targets;
#[cfg(test)]
pub(crate) mod testkit;
mod time;
mod verdict;

pub use context::{Context, Effect};
pub use engine::Netfilter;
pub use hook::{Hook, HookMask};
pub use host::{Host, IcmpError};
pub use interface::{Interface, InterfaceName};
pub use packet::{Packet, PacketCt};
pub use rule::{Chain, Counters, Match, Rule, Ruleset, Table, Target};
pub use time::Now;
pub use verdict::{DropReason, TargetVerdict, Verdict};
