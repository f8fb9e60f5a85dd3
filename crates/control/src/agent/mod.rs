//! `fielato agent`: makes a protected host enforce what the hub plans for it, and keep enforcing it whatever happens to the hub, the
//! network or this process.
//!
//! What is said and when is [`fielato_fleet::Agent`]'s to decide; here are its socket, its files and the machine.

mod enforce;
mod enrol;
mod link;
mod report;
mod run;
mod settings;
mod tunnel;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Paths, files};

pub use enforce::TABLE;
pub use enrol::enrol;
pub use report::Report;
pub use run::run;
pub use settings::Settings;
pub use tunnel::TunnelSettings;

/// TCP port of the control channel on the hub's overlay addresses, unless `[hub]` says otherwise.
pub const CONTROL_PORT: u16 = 51821;

/// Takes away what the agent enforces, and puts back what it changed. The host is open then, but for others' rules.
///
/// # Errors
/// While an agent runs, since it would put everything back; or when something cannot be removed.
pub fn remove(paths: &Paths) -> Result<()> {
    let _lock = lock(paths)?;
    enforce::remove(paths)?;
    if let Some(settings) = Settings::load(paths)?.filter(|settings| settings.tunnel.is_some()) {
        tunnel::remove(&settings.interface)?;
    }
    files::remove(&paths.agent_plan())?;
    files::remove(&paths.agent_status())
}

/// One agent a machine.
fn lock(paths: &Paths) -> Result<File> {
    files::ensure_dir(&paths.runtime())?;
    let path = paths.agent_lock();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => bail!("an agent runs on this machine; stop it first (`systemctl stop fielato-agent`)"),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Whether an agent runs.
pub fn is_running(paths: &Paths) -> bool {
    let Ok(file) = File::open(paths.agent_lock()) else {
        return false;
    };
    // A shared lock, so that two who look don't take each other for the agent.
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}
