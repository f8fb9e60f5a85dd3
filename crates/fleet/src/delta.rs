//! What differs between two plans of a host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fielato_policy::HostPlan;
use fielato_policy::config::PortSpec;
use fielato_policy::plan::{Admit, FilterRule, TunnelPlan};
use ipnet::IpNet;
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
    /// What the host judges of what comes out of its tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelDelta>,
}

/// What leads from one [`TunnelPlan`] to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelDelta {
    /// It comes or goes, with the strategy.
    Other(Option<TunnelPlan>),
    /// Parts of it differ.
    Parts {
        /// The overlay's networks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlay: Option<Vec<IpNet>>,
        /// The hub's addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hub: Option<Vec<IpAddr>>,
        /// Sets, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        sets: BTreeMap<String, SetChange>,
        /// The rules: they have an order, and are few.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<Vec<FilterRule>>,
    },
}

/// What becomes of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetChange {
    /// It is there, with these elements more and these less than before; before there may have been none.
    Elements {
        /// Elements that come.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<IpNet>,
        /// Elements that go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<IpNet>,
    },
    /// It goes.
    Gone,
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
        let HostPlan {
            name: _,
            admit,
            ports,
            tunnel,
        } = new;
        Self {
            admit: changed(&old.admit, admit),
            ports: changed(&old.ports, ports),
            tunnel: match (&old.tunnel, tunnel) {
                (old, new) if old == new => None,
                (Some(old), Some(new)) => Some(TunnelDelta::between(old, new)),
                (_, other) => Some(TunnelDelta::Other(other.clone())),
            },
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The plan with the difference.
    pub fn apply(&self, plan: &HostPlan) -> HostPlan {
        let Self { admit, ports, tunnel } = self.clone();
        HostPlan {
            name: plan.name.clone(),
            admit: admit.unwrap_or_else(|| plan.admit.clone()),
            ports: ports.unwrap_or_else(|| plan.ports.clone()),
            tunnel: match tunnel {
                Some(delta) => delta.apply(plan.tunnel.as_ref()),
                None => plan.tunnel.clone(),
            },
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

impl TunnelDelta {
    fn between(old: &TunnelPlan, new: &TunnelPlan) -> Self {
        let TunnelPlan {
            overlay,
            hub,
            sets,
            rules,
        } = new;
        let gone = old.sets.keys().filter(|name| !sets.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), SetChange::Gone));
        let other = sets.iter().filter(|(name, nets)| old.sets.get(*name) != Some(nets));
        let other = other.map(|(name, nets)| (name.clone(), SetChange::between(old.sets.get(name), nets)));
        Self::Parts {
            overlay: changed(&old.overlay, overlay),
            hub: changed(&old.hub, hub),
            sets: gone.chain(other).collect(),
            rules: changed(&old.rules, rules),
        }
    }

    /// Parts of a tunnel that is not there lead to none: the digest then tells that something is missing.
    fn apply(self, tunnel: Option<&TunnelPlan>) -> Option<TunnelPlan> {
        let (overlay, hub, changes, rules) = match self {
            Self::Other(other) => return other,
            Self::Parts {
                overlay,
                hub,
                sets,
                rules,
            } => (overlay, hub, sets, rules),
        };
        let mut tunnel = tunnel?.clone();
        for (name, change) in changes {
            match change {
                SetChange::Gone => drop(tunnel.sets.remove(&name)),
                SetChange::Elements { add, remove } => {
                    let nets = tunnel.sets.entry(name).or_default();
                    let gone: BTreeSet<IpNet> = remove.into_iter().collect();
                    nets.retain(|net| !gone.contains(net));
                    nets.extend(add);
                    nets.sort_unstable();
                }
            }
        }
        Some(TunnelPlan {
            overlay: overlay.unwrap_or(tunnel.overlay),
            hub: hub.unwrap_or(tunnel.hub),
            sets: tunnel.sets,
            rules: rules.unwrap_or(tunnel.rules),
        })
    }
}

impl SetChange {
    fn between(old: Option<&Vec<IpNet>>, new: &[IpNet]) -> Self {
        let old: BTreeSet<IpNet> = old.into_iter().flatten().copied().collect();
        let new: BTreeSet<IpNet> = new.iter().copied().collect();
        Self::Elements {
            add: new.difference(&old).copied().collect(),
            remove: old.difference(&new).copied().collect(),
        }
    }
}

fn changed<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}
