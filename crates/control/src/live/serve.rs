//! The daemon's end of a stream: a client that looks at the gateway's packets has a thread of its own, so that nobody waits for it.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fielato_io::tap::{Direction, Listener, Side, Tap, Tapped, Wanted};
use fielato_policy::Config;
use fielato_wire::filter::Words;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{rules, tell};
use crate::protocol::{Response, Status, Watch, Watched, WatchedPacket};

/// Most clients that look at packets at once.
const CLIENTS_MAX: usize = 4;
/// How long a client may keep its thread waiting before it is given up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);
/// How often a silent client is looked after.
const TICK: Duration = Duration::from_millis(100);
/// Most packets that wait for a client, and most of their bytes.
const WAITING_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most packets of one second that are explained.
const EXPLAINED_MAX: u32 = 10_000;

/// The clients that look at packets. When this goes, they are told goodbye.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    alive: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

/// What a client will look at.
pub(crate) struct Watching {
    listener: Listener,
    lines: Vec<usize>,
}

impl Watching {
    /// Begins to listen at the gateway.
    ///
    /// # Errors
    /// A filter that is none, an unknown name, or too many listeners.
    pub(crate) fn begin(tap: &Tap, config: &Config, status: &Status, watch: &Watch) -> Result<Self> {
        let words = Words::parse(&watch.filter)?;
        // Resolved for both, so that an unknown name is found for either.
        let (clear, cipher) = (super::clear(&words, config)?, super::cipher(&words, config, status)?);
        let listener = tap.listen(Wanted {
            clear: watch.clear.then_some(clear),
            cipher: watch.cipher.then_some(cipher),
            snaplen: match watch.snaplen {
                0 => usize::MAX,
                snaplen => snaplen as usize,
            },
            explained: watch.explained.min(EXPLAINED_MAX),
            only_explained: watch.only_explained,
            packets: WAITING_MAX,
            bytes: BYTES_MAX,
        })?;
        Ok(Self {
            listener,
            lines: rules::lines_of(config),
        })
    }
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            alive: Arc::new(AtomicBool::new(true)),
            count: Arc::default(),
        }
    }

    /// Serves a client on a thread of its own, until it goes, is too slow, or the hub ends.
    ///
    /// # Errors
    /// When there are too many clients, or no thread is to be had.
    pub(crate) fn start(&self, client: UnixStream, watching: Watching) -> Result<()> {
        let place = Place::take(&self.count)?;
        let alive = Arc::downgrade(&self.alive);
        let thread = thread::Builder::new().name("watch".into());
        let serve = move || {
            if let Err(error) = serve(&client, &watching, &alive) {
                log::info!("a client that looked at packets is gone: {error}");
            }
            client.shutdown(Shutdown::Both).ok();
            drop(place);
        };
        thread.spawn(serve).context("cannot start a thread for a client")?;
        Ok(())
    }
}

/// One of the places for clients.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Result<Self> {
        let place = Self(Arc::clone(count));
        if count.fetch_add(1, Ordering::SeqCst) >= CLIENTS_MAX {
            bail!("{CLIENTS_MAX} clients look at packets already; end one of them");
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(mut client: &UnixStream, watching: &Watching, alive: &Weak<AtomicBool>) -> io::Result<()> {
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut lost = 0;
    let mut lines = Vec::new();
    line(&mut lines, &Response::Watching)?;
    client.write_all(&lines)?;
    while alive.strong_count() > 0 {
        lines.clear();
        for tapped in watching.listener.take(TICK) {
            line(&mut lines, &Watched::Packet(Box::new(packet(tapped, &watching.lines))))?;
        }
        let lost_now = watching.listener.lost();
        if lost_now > lost {
            lost = lost_now;
            line(&mut lines, &Watched::Lost { packets: lost })?;
        }
        if lines.is_empty() && has_gone(client)? {
            return Ok(());
        }
        client.write_all(&lines)?;
    }
    Ok(())
}

fn line(lines: &mut Vec<u8>, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, value)?;
    lines.push(b'\n');
    Ok(())
}

/// Clients say nothing after their request: what can be read is the end.
fn has_gone(client: &UnixStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(client, PollFlags::IN | PollFlags::RDHUP)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(ready > 0)
}

fn packet(tapped: Tapped, lines: &[usize]) -> WatchedPacket {
    let Tapped {
        side,
        direction,
        at,
        bytes,
        len,
        judged,
        stations,
    } = tapped;
    WatchedPacket {
        clear: side == Side::Clear,
        judged,
        inbound: direction == Direction::Inbound,
        at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        len: u32::try_from(len).unwrap_or(u32::MAX),
        bytes: STANDARD.encode(bytes),
        told: stations.and_then(|stations| tell::tell(at, &stations, lines)),
    }
}
