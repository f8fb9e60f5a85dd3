//! Leases: their time runs in memory, as in etcd; the file has only which there are and how long they last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::LeaseId;

#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    /// None when nobody has told the time since the store was opened.
    ends: Option<Instant>,
}

impl Leases {
    /// Adds one that was found in the file, or was granted just now.
    pub(super) fn insert(&mut self, id: LeaseId, ttl: Duration, now: Option<Instant>) {
        let ends = now.and_then(|now| now.checked_add(ttl));
        self.by_id.insert(id, Lease { ttl, ends });
    }

    /// Begins its time anew; whether there is such a lease.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> bool {
        match self.by_id.get_mut(&id) {
            Some(lease) => {
                lease.ends = now.checked_add(lease.ttl);
                true
            }
            None => false,
        }
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn remove(&mut self, id: LeaseId) {
        self.by_id.remove(&id);
    }

    /// Those whose time is over. The time of those that nobody has told the time begins.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        for (&id, lease) in &mut self.by_id {
            match lease.ends {
                Some(ends) if ends <= now => ended.push(id),
                Some(_) => {}
                None => lease.ends = now.checked_add(lease.ttl),
            }
        }
        ended
    }
}
