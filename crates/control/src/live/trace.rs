//! `fielato trace --live`: what real packets meet.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fielato_wire::filter::Words;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::report::LivePacket;
use super::stream::Stream;
use super::watcher::Watcher;
use super::{Stop, Subject};
use crate::Paths;
use crate::protocol::Watch;

/// How often packets are looked at that don't go on.
const TICK: Duration = Duration::from_millis(50);

/// What to trace.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which packets.
    pub filter: Words,
    /// The filter as it was given.
    pub words: String,
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
    paths: &Paths,
    subject: &Subject,
    settings: &Settings,
    stop: &Stop,
    begun: &dyn Fn(),
    show: &mut dyn FnMut(&LivePacket) -> Result<()>,
) -> Result<Summary> {
    let mut input = match subject.status.engine.as_str() {
        "kernel" => {
            let filter = subject.clear(&settings.filter)?;
            Input::Kernel(Box::new(Watcher::open(subject, filter, settings.per_second)?))
        }
        _ => Input::Gateway(Stream::open(paths, settings.watch())?),
    };
    begun();
    let most = settings.count.unwrap_or(u64::MAX);
    let mut summary = Summary::default();
    while summary.packets < most && !stop.is_due() {
        let fd = match &input {
            Input::Kernel(watcher) => watcher.as_fd(),
            Input::Gateway(stream) => stream.as_fd(),
        };
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::try_from(TICK)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for packets"),
        }
        for packet in input.take()? {
            if summary.packets == most {
                break;
            }
            show(&packet)?;
            summary.packets += 1;
        }
        summary.lost = match &input {
            Input::Kernel(watcher) => watcher.lost,
            Input::Gateway(stream) => stream.lost > 0,
        };
    }
    Ok(summary)
}

/// Who tells.
enum Input {
    Kernel(Box<Watcher>),
    Gateway(Stream),
}

impl Input {
    fn take(&mut self) -> Result<Vec<LivePacket>> {
        Ok(match self {
            Self::Kernel(watcher) => watcher.take()?.into_iter().map(|(_, packet)| packet).collect(),
            Self::Gateway(stream) => stream.read()?.into_iter().filter_map(|packet| packet.told).collect(),
        })
    }
}

impl Settings {
    fn watch(&self) -> Watch {
        Watch {
            clear: true,
            cipher: false,
            filter: self.words.clone(),
            // Nobody looks at the bytes.
            snaplen: 1,
            explained: self.per_second,
            only_explained: true,
        }
    }
}
