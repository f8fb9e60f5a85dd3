//! `fielato status`: the hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Now;

use super::{Connection, ConnectionId, Host};

/// A host as the hub knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// The revision that it enforces, as far as it has said.
    pub revision: Option<u64>,
    /// Revisions that it is behind; `None` when it has never said what it enforces.
    pub lag: Option<u64>,
    /// Milliseconds since the first revision that it has not acknowledged was published.
    pub behind_ms: Option<u64>,
    /// How often somebody had changed what its agent enforces, since the daemon started.
    pub drift: u64,
    /// When a line came from it last.
    pub last_seen: Option<Timestamp>,
    /// The overlay address that it is connected from.
    pub connected: Option<IpAddr>,
    /// Why it could not apply the newest revision.
    pub failure: Option<String>,
    /// Until when its token can be used.
    pub enrolling_until: Option<Timestamp>,
}

impl Host {
    pub(super) fn status(
        &self,
        name: &str,
        newest: u64,
        connections: &BTreeMap<ConnectionId, Connection>,
        now: Now,
    ) -> HostStatus {
        let mut greeted = self
            .connections
            .iter()
            .filter_map(|id| connections.get(id))
            .filter(|connection| connection.greeted);
        let behind = self.behind_since.map(|since| now.instant.saturating_duration_since(since));
        HostStatus {
            name: name.to_owned(),
            revision: self.enforced,
            lag: self.enforced.map(|revision| newest.saturating_sub(revision)),
            behind_ms: behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
            drift: self.drift,
            last_seen: self.last_seen,
            connected: greeted.next_back().map(|connection| connection.from),
            failure: self.failure.clone(),
            enrolling_until: self.enrolment.as_ref().map(|enrolment| enrolment.until),
        }
    }
}
