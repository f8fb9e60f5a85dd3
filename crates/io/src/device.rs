//! Our WireGuard device: the sans-IO core of `fielato-wireguard` on a TUN interface and two UDP sockets.
//!
//! Threads: interface → network, network → interface for each family, timers, and the socket that `wg` talks to.
//! One lock holds the core; it is held for one packet at a time and never while sending.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use fielato_wireguard::device::PADDING_ROOM;
use fielato_wireguard::uapi::{Report, SetDevice};
use fielato_wireguard::{Destination, Device as Core, DeviceConfig, DeviceStatus, DropReason, Outbox, PeerChange};

use crate::fd::{Waker, readable};
use crate::sockets::Sockets;
use crate::tun::Tun;
use crate::uapi::{self, Listener};

/// The largest IP packet, and the largest datagram.
const PACKET_MAX: usize = 65_535;

/// How often the core's timers are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Why a device could not be made. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The interface could not be made.
    #[error("interface {name}: cannot be created: {source}{}", interface_advice(source))]
    Interface {
        /// The interface's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The port could not be bound.
    #[error("UDP port {port}: {source}{}", port_advice(source))]
    Port {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The socket for `wg` could not be made.
    #[error("/var/run/wireguard/{name}.sock: {source}{}", socket_advice(source))]
    Socket {
        /// The interface's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or a wake-up descriptor could not be made.
    #[error("cannot start the device's threads: {0}")]
    Start(io::Error),
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The new port could not be bound.
    #[error("UDP port {port}: {source}{}", port_advice(source))]
    Port {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The sockets could not be marked.
    #[error("fwmark {mark:#x}: {source} (marking packets needs CAP_NET_ADMIN)")]
    Mark {
        /// The mark that was asked for.
        mark: u32,
        /// What the system said.
        source: io::Error,
    },
}

fn interface_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => " (an interface of that name exists; remove it, or choose another name)",
        Some(libc::EPERM | libc::EACCES) => " (this needs root, or CAP_NET_ADMIN)",
        Some(libc::ENOENT | libc::ENODEV) => " (the system has no /dev/net/tun; load the module `tun`)",
        _ => "",
    }
}

fn port_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => " (another program has it; `ss -ulpn` names it; choose another listen port)",
        _ => "",
    }
}

fn socket_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (a running program serves an interface of that name)",
        _ => "",
    }
}

/// Why a device ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// [`Device::stop`] was called, or the device was dropped.
    Stopped,
    /// Somebody removed the interface.
    InterfaceRemoved,
    /// The system refused to go on; the log says why.
    Failed,
}

/// A running WireGuard device. Dropping it stops it; the interface and the `wg` socket go with it.
pub struct Device {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Device {
    /// Makes interface, sockets and threads. The interface is down and has no address: that is the caller's.
    ///
    /// # Errors
    /// [`CreateError`], which says what is taken or missing.
    pub fn create(name: &str, mtu: u16, config: &DeviceConfig) -> Result<Self, CreateError> {
        Self::start(name, mtu, Some(config))
    }

    /// Like [`Device::create`], without key and peers and on any port, to be configured by `wg`.
    ///
    /// # Errors
    /// As [`Device::create`].
    pub fn create_unconfigured(name: &str, mtu: u16) -> Result<Self, CreateError> {
        Self::start(name, mtu, None)
    }

    fn start(name: &str, mtu: u16, config: Option<&DeviceConfig>) -> Result<Self, CreateError> {
        let (port, fwmark) = config.map_or((0, 0), |config| (config.listen_port, config.fwmark));
        let sockets = Sockets::bind(port, fwmark).map_err(|source| CreateError::Port { port, source })?;
        let listener = Listener::bind(name).map_err(|source| CreateError::Socket {
            name: name.to_owned(),
            source,
        })?;
        let tun = Tun::create(name, mtu).map_err(|source| CreateError::Interface {
            name: name.to_owned(),
            source,
        })?;
        let mut core = Core::new(mtu.into());
        let mut out = Outbox::new();
        if let Some(config) = config {
            core.set(config, Instant::now(), &mut out);
        }
        core.set_listen_port(sockets.port);
        let wakers = Wakers::new().map_err(CreateError::Start)?;
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            tun,
            current_port: AtomicU16::new(sockets.port),
            sockets: RwLock::new(Arc::new(sockets)),
            configuring: Mutex::new(()),
            wakers,
            stopping: AtomicBool::new(false),
            exit: Mutex::new(ExitState::default()),
            exited: Condvar::new(),
        });
        shared.deliver(&mut out);
        let mut device = Self {
            shared,
            threads: Vec::new(),
        };
        device.spawn(name, listener).map_err(CreateError::Start)?;
        Ok(device)
    }

    fn spawn(&mut self, name: &str, listener: Listener) -> io::Result<()> {
        type Work = Box<dyn FnOnce(&Arc<Shared>) -> io::Result<()> + Send>;
        let work: [(&str, Work); 5] = [
            ("tun", Box::new(interface_to_network)),
            ("udp4", Box::new(|shared| network_to_interface(shared, Family::V4))),
            ("udp6", Box::new(|shared| network_to_interface(shared, Family::V6))),
            ("timer", Box::new(timers)),
            ("wg", Box::new(move |shared| serve(shared, &listener))),
        ];
        for (role, work) in work {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{role}"))
                .stack_size(256 << 10);
            let body = move || match work(&shared) {
                Ok(()) => {}
                Err(error) if shared.is_stopping() => log::debug!("{role}: {error}"),
                Err(error) if is_gone(&error) => shared.end(Exit::InterfaceRemoved),
                Err(error) => {
                    log::error!("{role}: {error}");
                    shared.end(Exit::Failed);
                }
            };
            self.threads.push(thread.spawn(body)?);
        }
        Ok(())
    }

    /// Makes the device exactly like `config`; peers that are in it keep their sessions. A listen port of 0 keeps
    /// the port in use. New sockets are made in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`SetError`]: the port is taken or the mark not allowed. Nothing is changed then.
    pub fn set(&self, config: &DeviceConfig) -> Result<(), SetError> {
        let _one = lock(&self.shared.configuring);
        let port = Some(config.listen_port).filter(|port| *port != 0);
        self.shared
            .reconfigure(port, Some(config.fwmark), |core, now, out| core.set(config, now, out))
    }

    /// Changes the named peers and no others, as `wg syncconf` does.
    pub fn apply(&self, changes: &[PeerChange]) {
        let mut out = Outbox::new();
        lock(&self.shared.core).apply(changes, Instant::now(), &mut out);
        self.shared.deliver(&mut out);
    }

    /// What `wg show` tells, without secrets.
    pub fn status(&self) -> DeviceStatus {
        lock(&self.shared.core).status(Instant::now(), SystemTime::now())
    }

    /// How many packets were dropped, for every reason.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        lock(&self.shared.core).drops().iter().collect()
    }

    /// Ends all threads. The interface and the `wg` socket are gone when this returns.
    pub fn stop(self) {
        drop(self);
    }

    /// Sends the reason once, when the device ends by itself or by others.
    pub fn notify_exit(&self, to: Sender<Exit>) {
        let mut state = lock(&self.shared.exit);
        match state.reason {
            // Nobody listens any more: nothing to tell.
            Some(reason) => drop(to.send(reason)),
            None => state.listeners.push(to),
        }
    }

    /// Waits until the device ends by itself or by others; `None` when `timeout` is over before.
    pub fn wait(&self, timeout: Duration) -> Option<Exit> {
        let state = lock(&self.shared.exit);
        let running = |state: &mut ExitState| state.reason.is_none();
        let result = self.shared.exited.wait_timeout_while(state, timeout, running);
        result.unwrap_or_else(PoisonError::into_inner).0.reason
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.end(Exit::Stopped);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct ExitState {
    reason: Option<Exit>,
    listeners: Vec<Sender<Exit>>,
}

/// What the threads share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    tun: Tun,
    sockets: RwLock<Arc<Sockets>>,
    /// The port of `sockets`, to be read without a lock.
    current_port: AtomicU16,
    /// Held while sockets and core are changed together.
    configuring: Mutex<()>,
    wakers: Wakers,
    stopping: AtomicBool,
    exit: Mutex<ExitState>,
    exited: Condvar,
}

struct Wakers {
    tun: Waker,
    udp4: Waker,
    udp6: Waker,
    timer: Waker,
    uapi: Waker,
}

impl Wakers {
    fn new() -> io::Result<Self> {
        let new = Waker::new;
        Ok(Self {
            tun: new()?,
            udp4: new()?,
            udp6: new()?,
            timer: new()?,
            uapi: new()?,
        })
    }
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn report(&self) -> Report {
        lock(&self.core).report(Instant::now(), SystemTime::now())
    }

    /// Does what `wg` asked for.
    pub(crate) fn configure(&self, changes: &SetDevice) -> Result<(), SetError> {
        let _one = lock(&self.configuring);
        self.reconfigure(changes.listen_port, changes.fwmark, |core, now, out| {
            core.configure(changes, now, out)
        })
    }

    /// Changes sockets and core together; when the sockets cannot be changed, nothing is.
    fn reconfigure(
        &self,
        port: Option<u16>,
        fwmark: Option<u32>,
        change: impl FnOnce(&mut Core, Instant, &mut Outbox),
    ) -> Result<(), SetError> {
        let old = self.sockets();
        let mark = fwmark.unwrap_or_else(|| lock(&self.core).fwmark());
        let new = match port {
            Some(port) if port != old.port => Some(Arc::new(
                Sockets::bind(port, mark).map_err(|source| SetError::Port { port, source })?,
            )),
            _ => None,
        };
        let sockets = new.as_ref().unwrap_or(&old);
        sockets.set_fwmark(mark).map_err(|source| SetError::Mark { mark, source })?;
        let mut out = Outbox::new();
        {
            let mut core = lock(&self.core);
            change(&mut core, Instant::now(), &mut out);
            core.set_listen_port(sockets.port);
        }
        if let Some(new) = new {
            self.current_port.store(new.port, Ordering::Release);
            *self.sockets.write().unwrap_or_else(PoisonError::into_inner) = new;
            self.wakers.udp4.wake();
            self.wakers.udp6.wake();
        }
        self.deliver(&mut out);
        Ok(())
    }

    fn sockets(&self) -> Arc<Sockets> {
        Arc::clone(&self.sockets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what the core wants sent.
    fn deliver(&self, out: &mut Outbox) {
        if out.is_empty() {
            return;
        }
        let sockets = self.sockets.read().unwrap_or_else(PoisonError::into_inner);
        let (mut unsent, mut refused) = (0, 0);
        for (destination, packet) in out.iter() {
            match destination {
                Destination::Network(path) => unsent += u64::from(sockets.send(packet, &path).is_err()),
                Destination::Interface => refused += u64::from(self.tun.write(packet).is_err()),
            }
        }
        drop(sockets);
        out.clear();
        if unsent + refused > 0 {
            let mut core = lock(&self.core);
            core.count_drop(DropReason::SendFailed, unsent);
            core.count_drop(DropReason::InterfaceRefused, refused);
        }
    }

    /// Ends all threads. The first reason counts.
    fn end(&self, reason: Exit) {
        let mut state = lock(&self.exit);
        if state.reason.is_none() {
            state.reason = Some(reason);
            for listener in state.listeners.drain(..) {
                // Nobody listens any more: nothing to tell.
                let _ = listener.send(reason);
            }
        }
        drop(state);
        self.stopping.store(true, Ordering::Release);
        self.exited.notify_all();
        let Wakers {
            tun,
            udp4,
            udp6,
            timer,
            uapi,
        } = &self.wakers;
        [tun, udp4, udp6, timer, uapi].into_iter().for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What reading a TUN says when its interface was removed.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::ENODEV))
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn interface_to_network(shared: &Arc<Shared>) -> io::Result<()> {
    let mut buffer = vec![0; PACKET_MAX + PADDING_ROOM];
    let mut out = Outbox::new();
    while !shared.is_stopping() {
        match shared.tun.read(&mut buffer[..PACKET_MAX]) {
            Ok(len) => {
                lock(&shared.core).handle_tun(&mut buffer, len, Instant::now(), &mut out);
                shared.deliver(&mut out);
            }
            Err(error) if is_nothing_yet(&error) => {
                readable(Some(&shared.tun), &shared.wakers.tun, None)?;
            }
            // A TUN that is down has nothing to read, and says so by an error.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                readable(None, &shared.wakers.tun, Some(TICK))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

fn network_to_interface(shared: &Arc<Shared>, family: Family) -> io::Result<()> {
    let waker = match family {
        Family::V4 => &shared.wakers.udp4,
        Family::V6 => &shared.wakers.udp6,
    };
    let mut buffer = vec![0; PACKET_MAX];
    let mut out = Outbox::new();
    while !shared.is_stopping() {
        let sockets = shared.sockets();
        let socket = match family {
            Family::V4 => Some(&sockets.v4),
            Family::V6 => sockets.v6.as_ref(),
        };
        let Some(socket) = socket else {
            readable(None, waker, None)?;
            continue;
        };
        // Until the device ends, or there are other sockets: somebody wakes us then, in case nothing arrives.
        while !shared.is_stopping() && shared.current_port.load(Ordering::Acquire) == sockets.port {
            match socket.receive(&mut buffer) {
                Ok((len, from)) => {
                    lock(&shared.core).handle_udp(&buffer[..len], from, Instant::now(), &mut out);
                    shared.deliver(&mut out);
                }
                Err(error) if is_nothing_yet(&error) => {
                    readable(Some(socket), waker, None)?;
                }
                Err(error) => {
                    // An error that an earlier datagram left on the socket. Not one to end for.
                    log::debug!("receive: {error}");
                    readable(None, waker, Some(Duration::from_millis(10)))?;
                }
            }
        }
    }
    Ok(())
}

fn timers(shared: &Arc<Shared>) -> io::Result<()> {
    let mut out = Outbox::new();
    while !shared.is_stopping() {
        let mtu = shared.tun.mtu();
        {
            let mut core = lock(&shared.core);
            if let Ok(mtu) = mtu {
                core.set_mtu(mtu);
            }
            core.poll_timers(Instant::now(), &mut out);
        }
        shared.deliver(&mut out);
        readable(None, &shared.wakers.timer, Some(TICK))?;
    }
    Ok(())
}

fn serve(shared: &Arc<Shared>, listener: &Listener) -> io::Result<()> {
    let active = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !shared.is_stopping() {
            match listener.accept() {
                Ok(stream) if active.fetch_add(1, Ordering::AcqRel) < uapi::CONNECTIONS_MAX => {
                    let active = &active;
                    scope.spawn(move || {
                        if let Err(error) = uapi::serve(shared, &stream) {
                            log::debug!("wg socket: {error}");
                        }
                        active.fetch_sub(1, Ordering::AcqRel);
                    });
                }
                Ok(_) => {
                    log::warn!("wg socket: {} clients at once, one more was refused", uapi::CONNECTIONS_MAX);
                    active.fetch_sub(1, Ordering::AcqRel);
                }
                Err(error) if is_nothing_yet(&error) => {
                    readable(Some(listener), &shared.wakers.uapi, None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}
