//! The words of the control channel: one JSON object a line, over TCP through the tunnel.

use fielato_policy::HostPlan;
use fielato_wireguard::PublicKey;
use serde::{Deserialize, Serialize};

use crate::{Delta, Digest};

/// Version of the words. A hub refuses agents of another one; within a version, fields that the reader does not know are passed
/// over.
pub const VERSION: u32 = 1;
/// Longest line from an agent to the hub, in bytes. All it has to say is short; the hub has thousands of agents and must not hold much
/// for each.
pub const REQUEST_LINE_MAX: usize = 64 * 1024;
/// Longest line from the hub to an agent, in bytes: a whole plan with tens of thousands of members.
pub const PLAN_LINE_MAX: usize = 16 * 1024 * 1024;

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToHub {
    /// First on a connection, and again whenever the agent wants a whole plan.
    Hello {
        /// [`VERSION`]
        version: u32,
        /// The host that the agent believes to be. Never what the hub goes by.
        #[serde(default)]
        host: Option<String>,
        /// The revision that it enforces.
        #[serde(default)]
        revision: Option<u64>,
        /// The digest of the plan that it enforces.
        #[serde(default)]
        digest: Option<Digest>,
    },
    /// The plan that came last is enforced.
    Ack {
        /// Its revision.
        revision: u64,
        /// Its digest.
        digest: Digest,
    },
    /// The plan that came last could not be applied; the one before is still enforced.
    Failed {
        /// Its revision.
        revision: u64,
        /// Why not.
        why: String,
    },
    /// Somebody has changed what the agent enforces; it has been put back.
    Drift {
        /// What was found.
        what: String,
    },
    /// The host's own key, instead of the one that its token came with.
    Enrol {
        /// [`VERSION`]
        version: u32,
        /// The token's secret.
        token: String,
        /// The new key.
        public_key: PublicKey,
    },
    /// Answer to [`ToHost::Ping`].
    Pong,
}

/// What the hub says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToHost {
    /// Enforce this.
    Full {
        /// The policy's revision.
        revision: u64,
        /// The plan's digest.
        digest: Digest,
        /// The plan, in its canonical form.
        plan: Box<HostPlan>,
    },
    /// Change what you enforce.
    Delta {
        /// The revision that it starts from.
        from: u64,
        /// The revision that it leads to.
        to: u64,
        /// The digest of what comes out.
        digest: Digest,
        /// The difference.
        delta: Box<Delta>,
    },
    /// The new key is in force.
    Enrolled,
    /// No, and the connection ends.
    Refused {
        /// Why.
        why: String,
    },
    /// Are you there?
    Ping,
}

/// A message as a line, with its end.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    // As for the digest: there is nothing in a message that has no form in JSON.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
