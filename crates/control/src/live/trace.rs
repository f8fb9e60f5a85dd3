//! `fielato trace --live`: what real packets meet.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fielato_wire::filter::Words;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::report::LivePacket;
use super::watcher::Watcher;
use super::{Stop, Subject};

/// How often packets are looked at that don't go on.
const TICK: Duration = Duration::from_millis(50);

/// What to trace.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which packets.
    pub filter: Words,
    /// No more than this each second.
    pub per_second: u32,
    /// End after so many packets.
    pub count: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets shown.
    pub packets: u64,
    /// Whether some were missed because the kernel told of them faster than they were read.
    pub lost: bool,
}

/// Calls `begun` when packets are traced from now on, and `show` with each, until `stop`, the count, or until `show` fails.
///
/// # Errors
/// Without the right to trace, or what `show` returned.
pub fn run(
    subject: &Subject,
    settings: &Settings,
    stop: &Stop,
    begun: &dyn Fn(),
    show: &mut dyn FnMut(&LivePacket) -> Result<()>,
) -> Result<Summary> {
    let mut watcher = Watcher::open(subject, subject.clear(&settings.filter)?, settings.per_second)?;
    begun();
    let most = settings.count.unwrap_or(u64::MAX);
    let mut summary = Summary::default();
    while summary.packets < most && !stop.is_due() {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(&watcher, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::try_from(TICK)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for packets"),
        }
        for (_, packet) in watcher.take()? {
            if summary.packets == most {
                break;
            }
            show(&packet)?;
            summary.packets += 1;
        }
        summary.lost = watcher.lost;
    }
    Ok(summary)
}
