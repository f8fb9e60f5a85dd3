//! A process beside the daemon that brings the hub back when the daemon dies before a policy was confirmed.
//!
//! It has the reading end of a pipe. A byte in it says that the policy was confirmed or taken back; that the pipe ends without one
//! says that the daemon is no more. Then the hub is brought up again, which takes back what was not confirmed.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::Paths;
use crate::lock::Lock;

/// The hidden command that is the watchdog.
pub const COMMAND: &str = "watchdog";
const DISMISSED: u8 = b'.';

/// A watchdog that waits. Let go without [`Watchdog::dismiss`] it acts.
#[derive(Debug)]
pub struct Watchdog {
    process: Child,
    line: ChildStdin,
}

impl Watchdog {
    /// Starts one. `words` is the command line that brings the hub up again, without the program; what it says goes to the log.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(paths: &Paths, lock: &Lock, words: &[OsString]) -> Result<Self> {
        let start = || -> Result<Self> {
            let log = std::fs::OpenOptions::new().create(true).append(true).open(paths.log())?;
            let mut program = Command::new(std::env::current_exe()?);
            program
                .arg(COMMAND)
                .args(words)
                .env_remove("NOTIFY_SOCKET")
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0);
            let mut process = lock.spawn_apart(&mut program)?;
            let line = process.stdin.take().context("it has no pipe")?;
            Ok(Self { process, line })
        };
        start().context("cannot start the process that takes an unconfirmed policy back should the daemon die")
    }

    /// There is nothing to watch over any more.
    pub fn dismiss(self) {
        let Self { mut process, mut line } = self;
        // One that has been killed is gone as well.
        line.write_all(&[DISMISSED]).ok();
        drop(line);
        process.wait().ok();
    }
}

/// How a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The policy was confirmed or taken back.
    Dismissed,
    /// The daemon is no more.
    Alone,
}

/// The watchdog's own work: waits for the end of the pipe, or a byte.
///
/// # Errors
/// When the pipe can't be read.
pub fn watch(mut line: impl Read) -> io::Result<Ended> {
    let mut byte = [0];
    loop {
        match line.read(&mut byte) {
            Ok(0) => return Ok(Ended::Alone),
            Ok(_) => return Ok(Ended::Dismissed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_dismisses_and_the_end_does_not() {
        assert_eq!(watch(&[DISMISSED][..]).unwrap(), Ended::Dismissed);
        assert_eq!(watch(&[][..]).unwrap(), Ended::Alone);
    }
}
