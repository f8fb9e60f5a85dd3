//! The process that stays: signals, the control socket, and what the clock brings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use fielato_kernel::memory;
use fielato_wire::filter::{FilterError, UnknownName};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::audit::Who;
use crate::hub::{Hub, Options};
use crate::live::serve::Streams;
use crate::lock::Lock;
use crate::protocol::{Request, Response, Watch};
use crate::source::BadConfig;
use crate::{Paths, files, who};

/// How long one client may keep the daemon waiting.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);
/// How often the daemon looks whether its interface still stands and whether the clock was set.
const TICK: Duration = Duration::from_secs(2);
/// Longest request line, in bytes.
const REQUEST_LIMIT: u64 = 64 * 1024;

/// Brings the hub up, calls `ready`, stays until told to stop, and takes everything down again.
///
/// # Errors
/// When the hub cannot be brought up (everything is then as before), or its interface is taken away.
pub fn run(paths: &Paths, options: &Options, progress: &mut dyn FnMut(&str), ready: impl FnOnce() -> Result<()>) -> Result<()> {
    memory::hold_little();
    let mut lock = Lock::take(paths)?;
    lock.sign()?;
    let signals = Signals::install()?;
    let hub = Hub::up(paths, options, Arc::new(lock), Timestamp::now(), progress)?;
    hub.settle();
    let listener = match listen(paths).and_then(|listener| ready().map(|()| listener)) {
        Ok(listener) => listener,
        Err(error) => {
            let undone = hub.down().and_then(|()| files::remove(&paths.socket()));
            undone.with_context(|| format!("{error:#}; and then the machine could not be put back"))?;
            return Err(error);
        }
    };
    let streams = Streams::new();
    let mut daemon = Daemon {
        hub,
        signals,
        listener,
        streams,
    };
    notify(&[NotifyState::Ready]);
    let ended = daemon.serve();
    notify(&[NotifyState::Stopping]);
    let Daemon {
        hub, listener, streams, ..
    } = daemon;
    drop(streams);
    let down = hub.down();
    drop(listener);
    files::remove(&paths.socket())?;
    // Whoever asked for the stop hears that it is done, after it is done.
    if let Ok(Some(client)) = &ended {
        let response = match &down {
            Ok(()) => Response::Done,
            Err(error) => Response::Refused {
                message: format!("{error:#}"),
                configuration: false,
            },
        };
        answer(client, &response).ok();
    }
    ended.and(down)
}

/// Waits for SIGTERM or SIGINT, or until `alive` says no, for programs that have nothing else to serve. `alive` is asked every
/// two seconds, and when `event` can be read or was hung up.
///
/// # Errors
/// When signals cannot be received.
pub fn wait_for_stop(event: BorrowedFd<'_>, alive: impl Fn() -> bool) -> Result<()> {
    let mut signals = Signals::install()?;
    while alive() {
        let mut fds = [
            PollFd::from_borrowed_fd(signals.pipe.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(event, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&Timespec::try_from(TICK)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        if let Some(Signal::Stop) = signals.take()? {
            break;
        }
    }
    Ok(())
}

struct Daemon {
    hub: Hub,
    signals: Signals,
    listener: UnixListener,
    /// Clients that look at packets.
    streams: Streams,
}

impl Daemon {
    /// Serves until a signal or a client says stop; in the latter case returns the client, who waits for an answer.
    fn serve(&mut self) -> Result<Option<UnixStream>> {
        loop {
            let wait = self.hub.next_event().map_or(TICK, |at| until(at).min(TICK));
            let mut fds = vec![
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.pipe.as_fd(), PollFlags::IN),
            ];
            fds.extend(self.hub.hosts_news().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            fds.extend(self.hub.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, Some(&Timespec::try_from(wait)?)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for events"),
            }
            self.hub.handle_watched()?;
            match self.signals.take()? {
                Some(Signal::Stop) => return Ok(None),
                Some(Signal::Reload) => self.reload_on_signal(),
                None => {}
            }
            while let Some(client) = self.accept()? {
                if let Some(client) = self.serve_client(client) {
                    return Ok(Some(client));
                }
            }
            self.hub.handle_hosts(Timestamp::now());
            self.hub.handle_time(Timestamp::now())?;
        }
    }

    fn reload_on_signal(&mut self) {
        // systemd 253 and later want the time with it (man 3 sd_notify).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("cannot read the monotonic clock: {error}"),
        }
        match self.hub.reload("SIGHUP", Timestamp::now()) {
            Ok(changes) => log::info!("reloaded: {}", serde_json::to_string(&changes).unwrap_or_default()),
            Err(error) => log::error!("reload refused, nothing changed: {error:#}"),
        }
        notify(&[NotifyState::Ready]);
        self.hub.settle();
    }

    fn accept(&self) -> Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((client, _)) => Ok(Some(client)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("cannot accept on the control socket"),
        }
    }

    /// Answers one request. A stop is not answered here: the client is returned.
    fn serve_client(&mut self, client: UnixStream) -> Option<UnixStream> {
        let (request, who) = match read_request(&client) {
            Ok(asked) => asked,
            Err(error) => {
                log::warn!("control socket: {error:#}");
                return None;
            }
        };
        if request == Request::Stop {
            self.hub.note_stop(who, Timestamp::now());
            return Some(client);
        }
        if let Request::Watch(watch) = &request {
            self.serve_watcher(client, watch);
            return None;
        }
        let loaded = matches!(request, Request::Reload | Request::Apply { .. });
        let response = self.hub.handle_audited(request, who, Timestamp::now());
        let response = response.unwrap_or_else(|error| Response::Refused {
            message: format!("{error:#}"),
            configuration: error.chain().any(|cause| cause.is::<BadConfig>()),
        });
        if let Err(error) = answer(&client, &response) {
            log::warn!("control socket: cannot answer: {error}");
        }
        if loaded {
            self.hub.settle();
        }
        None
    }
}

impl Daemon {
    /// Hands a client that looks at packets to a thread of its own.
    fn serve_watcher(&mut self, client: UnixStream, watch: &Watch) {
        let begun = self.hub.watch(watch).and_then(|watching| {
            let client = client.try_clone()?;
            self.streams.start(client, watching)
        });
        if let Err(error) = begun {
            let refused = Response::Refused {
                configuration: error.is::<FilterError>() || error.is::<UnknownName>(),
                message: format!("{error:#}"),
            };
            answer(&client, &refused).ok();
        }
    }
}

fn listen(paths: &Paths) -> Result<UnixListener> {
    let path = paths.socket();
    files::ensure_dir(&paths.runtime())?;
    // The lock is ours, so a socket that is there belongs to nobody.
    files::remove(&path)?;
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What is asked, and by whom.
fn read_request(client: &UnixStream) -> Result<(Request, Who)> {
    let peer = rustix::net::sockopt::socket_peercred(client)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
        bail!("process {:?} of user {:?} may not command this hub", peer.pid, peer.uid);
    }
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(CLIENT_PATIENCE))?;
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client.take(REQUEST_LIMIT)).read_line(&mut line)?;
    let who = Who::User {
        uid: peer.uid.as_raw(),
        name: Some(who::user_name(peer.uid.as_raw())),
        pid: Some(peer.pid.as_raw_nonzero().get()),
    };
    Ok((serde_json::from_str(&line).context("not a request")?, who))
}

fn answer(mut client: &UnixStream, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    client.write_all(&line)
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot notify the service manager: {error}");
    }
}

/// What a signal asks for.
pub(crate) enum Signal {
    Stop,
    Reload,
}

/// Signals set a flag and write a byte into a pipe, so that they wake the same wait as everything else.
pub(crate) struct Signals {
    pipe: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    pub(crate) fn install() -> Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(Self { pipe, stop, reload })
    }

    /// Becomes readable when a signal has come.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    pub(crate) fn take(&mut self) -> Result<Option<Signal>> {
        let mut bytes = [0; 64];
        match self.pipe.read(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error).context("cannot read the signal pipe"),
            _ => {}
        }
        if self.stop.load(Ordering::SeqCst) {
            return Ok(Some(Signal::Stop));
        }
        Ok(self.reload.swap(false, Ordering::SeqCst).then_some(Signal::Reload))
    }
}
