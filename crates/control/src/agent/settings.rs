//! Which hub the agent talks to.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::TunnelSettings;
use crate::{Paths, files};

/// What an agent must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Format.
    pub version: u32,
    /// The host's name in the hub's configuration, when it is known here.
    pub host: Option<String>,
    /// The WireGuard interface towards the hub. The agent talks by it alone: who answers there is the hub.
    pub interface: String,
    /// The hub's overlay addresses with the control channel's port; tried in turn.
    pub hub: Vec<SocketAddr>,
    /// The tunnel, when it is the agent's to make.
    #[serde(default)]
    pub tunnel: Option<TunnelSettings>,
}

impl Settings {
    /// Reads the settings; `None` when the host has none.
    ///
    /// # Errors
    /// When the file cannot be read, or is none.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.agent();
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(None);
        };
        let settings = serde_json::from_str(&text);
        settings
            .map(Some)
            .with_context(|| format!("{} is damaged; enrol again with `fielato agent enrol`", path.display()))
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// When the file cannot be written; it is then as it was.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        files::ensure_dir(&paths.state())?;
        files::replace(&paths.agent(), &serde_json::to_vec_pretty(self)?, 0o600)
    }
}
