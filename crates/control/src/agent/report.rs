//! `fielato agent status`: what the agent is doing, in a file that it keeps.

use anyhow::{Context as _, Result};
use fielato_fleet::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Paths, files};

/// What an agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Format.
    pub version: u32,
    /// The host's name.
    pub host: Option<String>,
    /// The revision that is enforced.
    pub revision: Option<u64>,
    /// The digest of the plan that is enforced.
    pub digest: Option<Digest>,
    /// Since when this revision is.
    pub since: Option<Timestamp>,
    /// Whether the agent talks to the hub.
    pub connected: bool,
    /// How often somebody had changed the rules, since the agent started.
    pub drift: u64,
    /// When that was last.
    pub last_drift: Option<Timestamp>,
    /// The last thing that went wrong, while it lasts.
    pub trouble: Option<String>,
    /// Whether an agent runs now. Without, the rules stand, and nobody repairs or renews them.
    #[serde(default)]
    pub running: bool,
}

impl Report {
    /// Reads the last report; `None` when no agent has run since the machine started.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.agent_status();
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(None);
        };
        let mut report: Self = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        report.running = super::is_running(paths);
        report.connected &= report.running;
        Ok(Some(report))
    }

    pub(super) fn save(&self, paths: &Paths) -> Result<()> {
        files::replace(&paths.agent_status(), &serde_json::to_vec(self)?, 0o600)
    }
}
