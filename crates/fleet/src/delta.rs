//! What differs between two plans of a host.

use std::collections::BTreeSet;

use fielato_policy::HostPlan;
use fielato_policy::config::PortSpec;
use fielato_policy::plan::Admit;
use serde::{Deserialize, Serialize};

use crate::{Digest, HostState};

/// What leads from one plan of a host to another. Parts that do not differ are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Whom it lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admit: Option<Admit>,
    /// The guarded ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<BTreeSet<PortSpec>>,
}

/// Why a delta does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// What came out is not what the hub has.
    #[error("the plan with the change is not the hub's: digest {found} instead of {expected}; the whole plan is needed")]
    Digest {
        /// What the hub has.
        expected: Digest,
        /// What came out.
        found: Digest,
    },
    /// It starts from another revision.
    #[error("the change starts from revision {from}, and {} is enforced; the whole plan is needed", have.map_or("none".to_owned(), |have| have.to_string()))]
    Revision {
        /// Where it starts.
        from: u64,
        /// What is enforced.
        have: Option<u64>,
    },
}

impl Delta {
    /// What leads from `old` to `new`, both in their canonical form and of one host.
    pub fn between(old: &HostPlan, new: &HostPlan) -> Self {
        let HostPlan { name: _, admit, ports } = new;
        Self {
            admit: changed(&old.admit, admit),
            ports: changed(&old.ports, ports),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The plan with the difference.
    pub fn apply(&self, plan: &HostPlan) -> HostPlan {
        let Self { admit, ports } = self.clone();
        HostPlan {
            name: plan.name.clone(),
            admit: admit.unwrap_or_else(|| plan.admit.clone()),
            ports: ports.unwrap_or_else(|| plan.ports.clone()),
        }
    }

    /// The state with the difference, if it is what the hub has.
    ///
    /// # Errors
    /// [`DeltaError::Digest`] when it is something else.
    pub fn lead(&self, state: &HostState, to: u64, digest: &Digest) -> Result<HostState, DeltaError> {
        let plan = self.apply(&state.plan);
        let found = Digest::of(&plan);
        if found == *digest {
            Ok(HostState { revision: to, plan })
        } else {
            let expected = digest.clone();
            Err(DeltaError::Digest { expected, found })
        }
    }
}

fn changed<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}
