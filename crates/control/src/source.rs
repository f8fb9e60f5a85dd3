//! The configuration file, from the disk to a [`Config`].

use std::fs;

use anyhow::{Context as _, Result};
use fielato_policy::Config;

use crate::Paths;

/// The configuration file is not one. The text shows each place, what stands there and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// Reads and checks the configuration file.
///
/// # Errors
/// [`BadConfig`] with every fault found; an I/O error when the file cannot be read.
pub fn load(paths: &Paths) -> Result<Config> {
    let (_, config) = load_text(paths)?;
    Ok(config)
}

/// The same, with the text, for edits.
///
/// # Errors
/// As [`load`].
pub fn load_text(paths: &Paths) -> Result<(String, Config)> {
    let path = paths.config();
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; `fielato init` writes a first one", path.display()))?;
    let config =
        Config::parse(&text).map_err(|faults| BadConfig(faults.display(&path.display().to_string(), &text).to_string()))?;
    Ok((text, config))
}
