//! One daemon a machine: a lock that its holder's death releases.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Paths, files};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Somebody else holds the lock.
#[derive(Debug, thiserror::Error)]
#[error("fielato runs already{}; see `fielato status`, or stop it with `fielato down`", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
pub struct Held {
    /// The holder's process number, when it wrote one.
    pub pid: Option<u32>,
}

impl Lock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`Held`] when another process has it; an I/O error when the runtime folder cannot be written.
    pub fn take(paths: &Paths) -> Result<Self> {
        files::ensure_dir(&paths.runtime())?;
        let path = paths.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok();
                return Err(Held {
                    pid: text.trim().parse().ok(),
                }
                .into());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// Takes the lock as soon as its holder lets go, within `patience`.
    ///
    /// # Errors
    /// As [`Lock::take`], once the time is over.
    pub fn wait(paths: &Paths, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::take(paths) {
                Err(error) if error.is::<Held>() && Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_taker_is_refused_and_told_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let first = Lock::take(&paths).unwrap();
        let refused = Lock::take(&paths).unwrap_err();
        assert_eq!(refused.downcast_ref::<Held>().unwrap().pid, Some(std::process::id()));
        drop(first);
        Lock::take(&paths).unwrap();
    }
}
