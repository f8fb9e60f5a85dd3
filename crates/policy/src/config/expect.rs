//! `[[test]]`: what the policy is to do, said by its author.

use serde::{Deserialize, Serialize};

/// Every pair of a `from` and a `to` is one question, in the words of [`trace`](crate::trace).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Test {
    /// What people call it.
    pub name: Option<String>,
    /// Who sends: members, groups (each member of them), hosts, `members`, `internet` or addresses.
    pub from: Vec<String>,
    /// Where to: services, hosts, members, `hub`, `internet` or addresses; perhaps with `:PORT/PROTOCOL` behind.
    pub to: Vec<String>,
    /// What is to happen.
    pub expect: Expect,
    /// The interface by which it reaches the hub, when that is not what the sender's address says: the hub's own or the uplink.
    pub via: Option<String>,
    /// The rate in bytes per second to which the packets are held on their way.
    pub rate: Option<u64>,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based.
    pub line: usize,
}

/// What is to happen to the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// It arrives.
    Accept,
    /// It is stopped, and nobody is told.
    Drop,
    /// It is stopped, and the sender is told.
    Reject,
}
