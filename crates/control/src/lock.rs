//! One daemon a machine: a lock that its holder's death releases.
//!
//! The programs that the holder runs (`nft`) inherit the lock. So when the holder is killed while one of them is at work,
//! the lock is free only when that one has ended, and cannot change the machine behind the back of whoever comes next.
//!
//! The file names the daemon that holds the lock. Who has it for a moment only (`down` after a kill, `ban` without a daemon)
//! leaves the file empty, and is waited for.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::{Paths, files};

/// Between two tries.
const RETRY: Duration = Duration::from_millis(10);
/// How long to wait for a holder that will let go by itself.
const MOMENT: Duration = Duration::from_secs(10);

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Somebody else holds the lock.
#[derive(Debug, thiserror::Error)]
#[error("fielato runs already{}; see `fielato status`, or stop it with `fielato down`", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
pub struct Held {
    /// The holder's process number, when it wrote one.
    pub pid: Option<u32>,
}

impl Lock {
    /// Takes the lock, or says which daemon has it. Whoever has it for a moment is waited for, and what a killed one began, too.
    ///
    /// # Errors
    /// [`Held`] when another process has it; an I/O error when the runtime folder cannot be written.
    pub fn take(paths: &Paths) -> Result<Self> {
        let deadline = Instant::now() + MOMENT;
        loop {
            match Self::try_take(paths) {
                Err(error) if is_for_a_moment(&error) && Instant::now() < deadline => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }

    fn try_take(paths: &Paths) -> Result<Self> {
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
        fcntl_setfd(&file, FdFlags::empty())?;
        Ok(Self { file })
    }

    /// Writes this process's number into the file: it keeps the lock while it lives.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign(&mut self) -> Result<()> {
        let mut write = || {
            self.file.rewind()?;
            writeln!(self.file, "{}", std::process::id())
        };
        write().context("cannot write the lock's file")
    }

    /// Starts a program that does not inherit the lock: one that is there to act when the holder is gone.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_apart(&self, program: &mut Command) -> std::io::Result<Child> {
        fcntl_setfd(&self.file, FdFlags::CLOEXEC)?;
        let child = program.spawn();
        fcntl_setfd(&self.file, FdFlags::empty())?;
        child
    }

    /// Takes the lock as soon as its holder lets go, within `patience`.
    ///
    /// # Errors
    /// As [`Lock::take`], once the time is over.
    pub fn wait(paths: &Paths, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::take(paths) {
                Err(error) if error.is::<Held>() && Instant::now() < deadline => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }
}

/// Whether the lock is held by no daemon, or on behalf of one that is no more or about to be.
fn is_for_a_moment(error: &anyhow::Error) -> bool {
    let pid = match error.downcast_ref() {
        Some(Held { pid: Some(pid) }) => pid,
        Some(Held { pid: None }) => return true,
        None => return false,
    };
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => is_ending(&stat),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Whether a process of which this is `/proc/PID/stat` is a zombie that its parent has yet to bury, or is on the way to become one: a
/// killed daemon's pipe, at whose end its watchdog waits, may be closed before the lock is.
fn is_ending(stat: &str) -> bool {
    /// `include/linux/sched.h`
    const PF_EXITING: u32 = 0x4;
    // proc_pid_stat(5): the name is in brackets, and may have some in it. The state follows, and six fields on the flags.
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let is_dead = fields.next().is_some_and(|state| state.starts_with(['Z', 'X']));
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok());
    is_dead || flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that one test starts inherits the lock of another, so they take turns.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

    #[test]
    fn work_of_a_dead_holder_is_waited_for() {
        let _turn = TURN.lock().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();

        let lock = Lock::take(&paths).unwrap();
        let mut work = std::process::Command::new("sleep").arg("0.3").spawn().unwrap();
        drop(lock);
        fs::write(paths.lock(), format!("{}\n", dead.id())).unwrap();
        assert!(Lock::try_take(&paths).unwrap_err().is::<Held>(), "the program at work has it");
        Lock::take(&paths).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", work.id())).unwrap();
        assert!(is_ending(&stat), "it has ended: {stat}");
        work.wait().unwrap();
    }

    #[test]
    fn who_is_about_to_die_is_not_a_daemon() {
        for (stat, expected) in [
            ("7 (fielato) S 1 7 7 0 -1 4194560 99 0", false),
            ("7 (fielato) Z 1 7 7 0 -1 4194560 99 0", true),
            ("7 (fielato) R 1 7 7 0 -1 4194564 99 0", true),
            ("7 (a ) Z 4) S 1 7 7 0 -1 4194560 99 0", false),
            ("", false),
        ] {
            assert_eq!(is_ending(stat), expected, "{stat}");
        }
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(!is_ending(&own), "{own}");
    }

    #[test]
    fn second_taker_is_refused_and_told_by_whom() {
        let _turn = TURN.lock().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let mut first = Lock::take(&paths).unwrap();
        first.sign().unwrap();
        let refused = Lock::take(&paths).unwrap_err();
        assert_eq!(refused.downcast_ref::<Held>().unwrap().pid, Some(std::process::id()));
        drop(first);
        Lock::take(&paths).unwrap();
    }
}
