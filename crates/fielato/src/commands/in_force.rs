//! The policy that was applied last.

use anyhow::{Context as _, Result};
use fielato_control::Paths;
use fielato_control::client::NotRunning;
use fielato_control::revisions::last_good;
use fielato_control::source::Source;
use fielato_policy::Config;

use super::apply::report;

/// What the running hub enforces, or, when it is down, the last policy that was confirmed; none when there never was one.
pub fn policy(paths: &Paths) -> Result<Option<Config>> {
    let files = match report(paths, None) {
        Ok(report) => Some(report.files),
        Err(error) if error.is::<NotRunning>() => last_good::read(&paths.last_good())?.map(|good| good.files),
        Err(error) => return Err(error),
    };
    let Some(files) = files else { return Ok(None) };
    let source = Source::of(paths, files).context("the policy that was applied last can't be read")?;
    Ok(Some(source.config))
}
