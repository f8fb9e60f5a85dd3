//! A host's recent plans.

use std::collections::VecDeque;
use std::sync::Arc;

use fielato_policy::HostPlan;

use crate::Digest;

/// The plans that a host was given of late, each from the revision on in which it came.
#[derive(Debug, Default)]
pub struct History {
    plans: VecDeque<(u64, Arc<HostPlan>, Digest)>,
    newest: u64,
}

impl History {
    /// Takes the plan of a revision, in its canonical form; forgets the oldest beyond `limit`.
    pub fn publish(&mut self, revision: u64, plan: HostPlan, limit: usize) {
        if revision < self.newest {
            // Revisions began anew, as with another store: what was said of the old ones is void.
            self.plans.clear();
        }
        self.newest = revision;
        if self.plans.back().is_some_and(|(_, last, _)| **last == plan) {
            return;
        }
        let digest = Digest::of(&plan);
        self.plans.push_back((revision, Arc::new(plan), digest));
        while self.plans.len() > limit.max(1) {
            self.plans.pop_front();
        }
    }

    /// The plan at a revision, if it is still known.
    pub fn at(&self, revision: u64) -> Option<(&Arc<HostPlan>, &Digest)> {
        let found = self.plans.iter().rev().find(|(from, ..)| *from <= revision)?;
        (revision <= self.newest).then_some((&found.1, &found.2))
    }
}
