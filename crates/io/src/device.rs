//! Our WireGuard device: the sans-IO parts of `fielato-wireguard` on a TUN interface and UDP sockets.
//!
//! Threads: a [`worker`] for each core, which has its share of the peers, a queue of the interface and sockets of its own;
//! one that answers handshake initiations ([`handshakes`]); and one for the socket that `wg` talks to.

mod handshakes;
mod inbox;
mod middle;
mod shared;
mod transmit;
mod way_out;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use fielato_gateway::{Egress, Gateway};
use fielato_netfilter::Now;
use fielato_wireguard::{DeviceConfig, DeviceStatus, DropReason, Front, PeerChange, Roster, Shard};

use crate::fd::readable;
use crate::tap::Tap;
use crate::tun::steer::Steering;
use crate::uapi::{self, Listener};
use crate::udp::Sockets;
use crate::{aead, tun};

use middle::Between;
pub use middle::{Crossing, Middle};
pub(crate) use shared::Shared;
use shared::lock;
pub use way_out::WayOut;
use worker::Worker;

/// Workers that are started at most, however many cores there are. Each needs about 2 MB when it is busy.
const WORKERS_MAX: usize = 16;

/// A superpacket of this many segments makes messages that fit one UDP send of 65,507 bytes (at an MTU of 1,420).
const SEGMENTS: u32 = 44;

/// How a device is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// MTU of the interface.
    pub mtu: u16,
    /// Threads that encrypt and decrypt; `None` for one per core.
    pub workers: Option<usize>,
    /// Whether the interface takes and gives superpackets. Some kernels refuse them; it works without, slower.
    pub offloads: bool,
    /// Whether the kernel may be given a BPF program that brings each packet to its peer's worker. Without, one worker reads
    /// for all, as it does where the kernel permits no BPF.
    pub steering: bool,
    /// Whether there is a TUN interface, and a socket for `wg`. Without, a [`Middle::Gateway`] takes every packet, and nothing
    /// needs a privilege.
    pub interface: bool,
}

impl From<u16> for Options {
    /// An MTU alone leaves the rest as it is by default.
    fn from(mtu: u16) -> Self {
        Self::new(mtu)
    }
}

impl Options {
    /// The defaults, for an interface of this MTU.
    pub fn new(mtu: u16) -> Self {
        Self {
            mtu,
            workers: None,
            offloads: true,
            steering: true,
            interface: true,
        }
    }

    fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores).clamp(1, WORKERS_MAX)
    }
}
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
    /// Without an interface there must be a gateway to take the packets.
    #[error("a device without an interface needs a gateway, which takes what its peers send")]
    NoWay,
    /// The cipher that was asked for is not there.
    #[error(transparent)]
    Cipher(#[from] aead::ChoiceError),
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
    pub fn create(name: &str, options: impl Into<Options>, config: &DeviceConfig) -> Result<Self, CreateError> {
        Self::start(name, &options.into(), Some(config), Middle::None)
    }

    /// Like [`Device::create`], with something between the peers and the interface.
    ///
    /// # Errors
    /// As [`Device::create`], and [`CreateError::NoWay`].
    pub fn create_between(name: &str, options: &Options, config: &DeviceConfig, middle: Middle) -> Result<Self, CreateError> {
        Self::start(name, options, Some(config), middle)
    }

    /// Like [`Device::create`], without key and peers and on any port, to be configured by `wg`.
    ///
    /// # Errors
    /// As [`Device::create`].
    pub fn create_unconfigured(name: &str, options: impl Into<Options>) -> Result<Self, CreateError> {
        Self::start(name, &options.into(), None, Middle::None)
    }

    fn start(name: &str, options: &Options, config: Option<&DeviceConfig>, middle: Middle) -> Result<Self, CreateError> {
        if !options.interface && !matches!(middle, Middle::Gateway(_)) {
            return Err(CreateError::NoWay);
        }
        let workers = options.workers();
        let (port, fwmark) = config.map_or((0, 0), |config| (config.listen_port, config.fwmark));
        let (front, shards) = parts(options, workers)?;
        let sockets = Sockets::bind(port, fwmark, workers).map_err(|source| CreateError::Port { port, source })?;
        let mut opened = (None, Vec::new(), None);
        let mut listener = None;
        if options.interface {
            listener = Some(Listener::bind(name).map_err(|source| CreateError::Socket {
                name: name.to_owned(),
                source,
            })?);
            opened = open(name, options, workers).map_err(|source| CreateError::Interface {
                name: name.to_owned(),
                source,
            })?;
        }
        let (interface, queues, steering) = opened;
        let (between, way_out) = Between::new(middle, queues.first()).map_err(CreateError::Start)?;
        let mut roster = Roster::default();
        roster.set_listen_port(sockets.port);
        if steering.is_some() {
            roster.keep_changes();
        }
        let shared = Shared::new(roster, front, shards, interface, between, sockets, steering).map_err(CreateError::Start)?;
        let mut device = Self {
            shared: Arc::new(shared),
            threads: Vec::new(),
        };
        if let Some(config) = config {
            device.shared.change(|control, now, out| {
                let port = control.roster.listen_port();
                control.set(config, now, out);
                control.roster.set_listen_port(port);
            });
        }
        device.open_way_out(way_out).map_err(CreateError::Start)?;
        device.spawn(name, queues, listener).map_err(CreateError::Start)?;
        Ok(device)
    }

    fn open_way_out(&self, way_out: Option<WayOut>) -> io::Result<()> {
        match (&self.shared.between, way_out) {
            (Some(between), Some(way_out)) => between.open_exit(way_out, &self.shared),
            _ => Ok(()),
        }
    }

    fn spawn(&mut self, name: &str, queues: Vec<tun::Queue>, listener: Option<Listener>) -> io::Result<()> {
        for number in 0..self.shared.shards.len() {
            // Where the kernel does not steer there is one queue: the first worker reads it, and all write to it.
            let queue = queues.get(number).or(queues.first()).map(tun::Queue::try_clone).transpose()?;
            let worker = Worker::new(number, &self.shared, queue, number < queues.len());
            self.spawn_one(name, &format!("{number}"), move |_| worker.run())?;
        }
        self.spawn_one(name, "hs", handshakes::run)?;
        match listener {
            Some(listener) => self.spawn_one(name, "wg", move |shared| serve(shared, &listener)),
            None => Ok(()),
        }
    }

    fn spawn_one(
        &mut self,
        name: &str,
        role: &str,
        work: impl FnOnce(&Arc<Shared>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let name = format!("{name}-{role}");
        let thread = std::thread::Builder::new().name(name.clone()).stack_size(256 << 10);
        let body = move || match work(&shared) {
            Ok(()) => {}
            Err(error) if shared.is_stopping() => log::debug!("{name}: {error}"),
            Err(error) if is_gone(&error) => shared.end(Exit::InterfaceRemoved),
            Err(error) => {
                log::error!("{name}: {error}");
                shared.end(Exit::Failed);
            }
        };
        self.threads.push(thread.spawn(body)?);
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
            .reconfigure(port, Some(config.fwmark), |control, now, out| control.set(config, now, out))
    }

    /// Changes the named peers and no others, as `wg syncconf` does.
    pub fn apply(&self, changes: &[PeerChange]) {
        self.shared.change(|control, now, out| control.apply(changes, now, out));
    }

    /// What `wg show` tells, without secrets.
    pub fn status(&self) -> DeviceStatus {
        self.shared
            .with_control(|control| control.status(Instant::now(), SystemTime::now()))
    }

    /// Works with the gateway between two packets: what it then has to send is sent. `None` when there is none.
    pub fn with_gateway<T>(&self, work: impl FnOnce(&mut Gateway, Now) -> T) -> Option<T> {
        let between = self.shared.between.as_ref()?;
        let mut session = between.session(&self.shared, None);
        let result = session.gateway(work);
        session.distribute();
        result
    }

    /// Works with the disciplines on the way to the peers, which are the device's own only with [`Middle::Egress`]. `work` is
    /// given the time on their clock.
    pub fn with_egress<T>(&self, work: impl FnOnce(&mut Egress, u64) -> T) -> Option<T> {
        let between = self.shared.between.as_ref()?;
        let mut session = between.session(&self.shared, None);
        let result = session.egress(work);
        session.distribute();
        result
    }

    /// Where its packets can be looked at, in clear and in cipher.
    pub fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    /// How many packets were dropped, for every reason.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        self.shared.with_control(|control| control.drops().iter().collect())
    }

    /// Ends all threads. The interface and the `wg` socket are gone when this returns; the counters that it returns are the last.
    pub fn stop(mut self) -> DeviceStatus {
        self.end();
        self.status()
    }

    fn end(&mut self) {
        self.shared.end(Exit::Stopped);
        if let Some(between) = &self.shared.between {
            between.close_exit();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// Sends the reason once, when the device ends by itself or by others.
    pub fn notify_exit(&self, to: Sender<Exit>) {
        self.shared.notify_exit(to);
    }

    /// Waits until the device ends by itself or by others; `None` when `timeout` is over before.
    pub fn wait(&self, timeout: Duration) -> Option<Exit> {
        self.shared.wait(timeout)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.end();
    }
}

type Opened = (Option<tun::Interface>, Vec<tun::Queue>, Option<Steering>);

/// The interface, with a queue for each worker and the kernel told which packet is whose; with one queue for all where it
/// can't be told. A flow whose packets came out of several queues would lose its order.
fn open(name: &str, options: &Options, workers: usize) -> io::Result<Opened> {
    let steering = options.steering && workers > 1;
    let mut options = tun::Options {
        mtu: options.mtu,
        queues: workers,
        offloads: options.offloads,
        gso_segments_max: Some(SEGMENTS),
        ..tun::Options::default()
    };
    if steering {
        match Steering::new() {
            Ok(steering) => {
                let (interface, queues) = tun::create(name, &options)?;
                match queues.first().map(|queue| steering.attach(queue)) {
                    Some(Ok(())) => return Ok((Some(interface), queues, Some(steering))),
                    Some(Err(error)) => log::warn!("{name}: one worker reads for all: the interface takes no steering: {error}"),
                    None => {}
                }
            }
            Err(error) => log::warn!("{name}: one worker reads for all: {error}"),
        }
    }
    options.queues = 1;
    let (interface, queues) = tun::create(name, &options)?;
    Ok((Some(interface), queues, None))
}

/// The sans-IO parts, each with randomness of its own.
fn parts(options: &Options, workers: usize) -> Result<(Front, Vec<Shard>), CreateError> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let seed = || {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| CreateError::Start(io::Error::other(error)))?;
        Ok::<_, CreateError>(seed)
    };
    let shard = |worker| {
        let cipher = aead::best()?;
        if worker == 0 {
            log::info!("cipher: {}", cipher.name());
        }
        let mtu = options.mtu.into();
        Ok(Shard::new(
            worker as u8,
            workers as u32,
            mtu,
            Box::new(cipher),
            seed()?,
            now,
            wall,
        ))
    };
    let shards: Result<_, CreateError> = (0..workers).map(shard).collect();
    Ok((Front::new(seed()?), shards?))
}

/// What reading a TUN says when its interface was removed.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::ENODEV))
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted => {
                    readable(Some(listener), &shared.uapi, None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}
