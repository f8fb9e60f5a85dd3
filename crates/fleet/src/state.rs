//! What a host enforces, and by what its equality is known at the other end.

use std::fmt;

use blake2::{Blake2s256, Digest as _};
use fielato_policy::HostPlan;
use fielato_policy::plan::{Origin, TunnelPlan};
use serde::{Deserialize, Serialize};

/// What a host enforces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// The policy's revision that the plan is from.
    pub revision: u64,
    /// The plan, in its [canonical] form.
    pub plan: HostPlan,
}

impl HostState {
    /// The plan's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.plan)
    }
}

/// The same plan in the one form that all plans of the same effect share: sets are sorted, and a rule's line in the hub's file is left
/// out, so that a member that is added above the rules changes nothing for a host.
pub fn canonical(plan: HostPlan) -> HostPlan {
    let HostPlan {
        name,
        admit,
        ports,
        tunnel,
    } = plan;
    HostPlan {
        name,
        admit,
        ports,
        tunnel: tunnel.map(canonical_tunnel),
    }
}

fn canonical_tunnel(mut tunnel: TunnelPlan) -> TunnelPlan {
    for nets in tunnel.sets.values_mut() {
        nets.sort_unstable();
        nets.dedup();
    }
    for rule in &mut tunnel.rules {
        if let Origin::Rule { file, line, .. } | Origin::Publish { file, line, .. } | Origin::Raw { file, line, .. } =
            &mut rule.origin
        {
            (*file, *line) = (None, 0);
        }
    }
    tunnel
}

/// BLAKE2s (RFC 7693) of a canonical plan's JSON, in hexadecimal. It finds mistakes and other versions of the program; that nobody has
/// changed the bytes on their way is WireGuard's to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Of a plan in its [canonical] form.
    pub fn of(plan: &HostPlan) -> Self {
        // A plan is made of strings, numbers, lists and maps with text as keys: all of these have a form in JSON.
        Self::of_bytes(&serde_json::to_vec(plan).unwrap_or_default())
    }

    /// Of any bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Blake2s256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
