//! When to end: a signal, or the time that was asked for.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Set by SIGINT, SIGTERM or SIGHUP, from [`Stop::install`] on; then there is time to finish what was begun.
#[derive(Debug)]
pub struct Stop {
    pipe: UnixStream,
    asked: Arc<AtomicBool>,
    end: Option<Instant>,
}

impl Stop {
    /// Catches the signals, and ends by itself after `time`.
    ///
    /// # Errors
    /// When the signals can't be caught.
    pub fn install(time: Option<Duration>) -> Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        let end = time.and_then(|time| Instant::now().checked_add(time));
        Ok(Self { pipe, asked, end })
    }

    /// Whether it is time to end.
    pub fn is_due(&self) -> bool {
        self.asked.load(Ordering::SeqCst) || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

impl AsFd for Stop {
    /// Readable when a signal came.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
