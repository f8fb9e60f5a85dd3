//! `[[nat.publish]]` and `[raw]`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Party, PortSpec};

/// A port of the hub that leads to a machine behind it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Publish {
    /// The hub's port, or ports.
    pub port: PortSpec,
    /// The host or member that it leads to.
    pub to: String,
    /// The first port there; as many as in `port`.
    pub to_port: u16,
    /// Who may use it.
    pub from: Vec<Party>,
    /// Addresses of the hub at which it is published; when empty, every one of its own, for what comes in by the uplink.
    pub addresses: Vec<IpAddr>,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based.
    pub line: usize,
}

/// A rule in iptables' words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawRule {
    /// Where it goes.
    pub table: RawTable,
    /// Its chain: FORWARD or INPUT of `filter`, PREROUTING or POSTROUTING of `nat`.
    pub chain: String,
    /// The families in which it can be said.
    pub families: crate::plan::PerFamily<bool>,
    /// Its words behind `-A CHAIN`.
    pub words: String,
    /// Behind the file's rules instead of before them.
    pub after: bool,
    /// Place among the file's raw rules, 1-based.
    pub number: usize,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based.
    pub line: usize,
}

/// Tables that raw rules can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum RawTable {
    Filter,
    Nat,
}

impl RawTable {
    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            RawTable::Filter => "filter",
            RawTable::Nat => "nat",
        }
    }
}
