//! Ctrl-C as a question that every wait asks, so that what was made is removed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(5);

/// Whether the user asked to stop (SIGINT, SIGTERM or SIGHUP).
#[derive(Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    handlers: Vec<SigId>,
}

/// The error with which a wait ends when the user asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// From now until it is dropped, the signals set a flag and do nothing else.
    ///
    /// # Errors
    /// When a handler can't be installed.
    pub fn install() -> Result<Self> {
        let mut interrupt = Self::never();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let handler =
                signal_hook::flag::register(signal, Arc::clone(&interrupt.asked)).context("cannot install a signal handler")?;
            interrupt.handlers.push(handler);
        }
        Ok(interrupt)
    }

    /// Leaves the signals alone.
    #[must_use]
    pub fn never() -> Self {
        Self {
            asked: Arc::new(AtomicBool::new(false)),
            handlers: Vec::new(),
        }
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Interrupted`] when the user asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_set() { Err(Interrupted) } else { Ok(()) }
    }

    /// Sleeps, unless the user asks to stop.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupted> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(POLL));
        }
    }

    /// Asks again and again until there is an answer, for at most `limit`; `None` when there was none by then.
    ///
    /// # Errors
    /// [`Interrupted`], or the error of the question.
    pub fn wait<T>(&self, limit: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let end = Instant::now() + limit;
        loop {
            self.check()?;
            if let Some(answer) = question()? {
                return Ok(Some(answer));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}
