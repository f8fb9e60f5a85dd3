//! What stands between the tunnel and the interface: nothing, the disciplines of the way to the peers, or the whole gateway.
//!
//! Workers decrypt what they receive without it, and bring it here in batches. What comes out is left with the worker whose
//! peer it is for, in its order: a worker encrypts only what is in its inbox. Whoever holds the lock distributes what is due
//! before letting it go, and a timer wakes the first worker for what is due later.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use fielato_gateway::trace::{Outcome, RouteVerdict};
use fielato_gateway::{Buffer, Egress, Gateway, Key, PortId, Station};
use fielato_netfilter::Now;
use fielato_wire::Offload;
use fielato_wireguard::inner;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use super::inbox::Mail;
use super::shared::{Shared, lock};
use crate::proxy::{self, Proxy};
use crate::tap::{Direction, Tap};
use crate::tun::Queue;

/// What stands between the tunnel and the interface of a [`Device`](crate::Device).
#[derive(Default)]
pub enum Middle {
    /// Nothing: the kernel judges and shapes.
    #[default]
    None,
    /// Disciplines on the way to the peers, for kernels that lack them; all else is the kernel's.
    Egress(Box<Egress>),
    /// The whole path.
    Gateway(Box<Crossing>),
}

/// A gateway and what its ports are.
pub struct Crossing {
    /// The gateway.
    pub gateway: Gateway,
    /// Its port to the peers.
    pub tunnel: PortId,
    /// Its port to the hub's own programs: the interface, or the proxy where there is none.
    pub host: PortId,
    /// Its way to everything else.
    pub exit: Option<(PortId, Exit)>,
}

/// How packets leave for networks beyond the hub.
pub enum Exit {
    /// By ordinary sockets of the hub's.
    Proxy(proxy::Options),
}

/// [`Middle`] at work.
pub(super) struct Between {
    state: Mutex<State>,
    /// Whether what was decrypted is judged here, and not by the kernel.
    judges: bool,
    /// Runs out when something is due to leave.
    timer: Timer,
    /// For local delivery. Taken before the core is let go, so that packets keep their order.
    host: Mutex<Option<Queue>>,
    exit: OnceLock<Proxy>,
    /// Where the gateway's packets are looked at.
    tap: Tap,
    lost: AtomicU64,
    refused: AtomicU64,
}

struct State {
    core: Core,
    /// When the timer runs out.
    armed: Option<u64>,
}

enum Core {
    Egress(Box<Egress>),
    Gateway(Box<Ports>),
}

/// A [`Crossing`] whose exit has been opened.
struct Ports {
    gateway: Gateway,
    tunnel: PortId,
    host: PortId,
    exit: Option<PortId>,
}

impl Ports {
    /// Gives a packet to the gateway, and shows it to whoever looks at the tunnel's packets.
    fn receive(&mut self, port: PortId, buffer: Buffer, tap: &Tap, now: Now) {
        let direction = match port == self.tunnel {
            true => Direction::Inbound,
            false => Direction::Outbound,
        };
        let Some(ticket) = tap.ask(direction, Duration::from_nanos(now.wall), &buffer.data) else {
            return self.gateway.receive(port, buffer, now);
        };
        // Only its way tells whether a packet from elsewhere goes towards the tunnel.
        if direction == Direction::Outbound || ticket.explains() {
            let stations = self.gateway.receive_traced(port, buffer, now);
            if direction == Direction::Inbound || self.leads_to_tunnel(&stations) {
                ticket.show(Some(&stations));
            }
        } else {
            self.gateway.receive(port, buffer, now);
            ticket.show(None);
        }
    }

    fn leads_to_tunnel(&self, stations: &[Station]) -> bool {
        let tunnel = self.gateway.ports().find(|port| port.id == self.tunnel);
        let is_tunnel = |name: &String| tunnel.is_some_and(|tunnel| tunnel.name == *name);
        stations.iter().any(|station| match station {
            Station::Route {
                verdict: RouteVerdict::Out { port, .. },
            }
            | Station::End(Outcome::Sent { port }) => is_tunnel(port),
            _ => false,
        })
    }
}

impl Between {
    /// `None` where nothing stands in between. The exit is to be opened by [`Between::open_exit`] when the device stands.
    pub(super) fn new(middle: Middle, host: Option<&Queue>) -> io::Result<(Option<Self>, Option<Exit>)> {
        let (core, exit) = match middle {
            Middle::None => return Ok((None, None)),
            Middle::Egress(egress) => (Core::Egress(egress), None),
            Middle::Gateway(crossing) => {
                let Crossing {
                    gateway,
                    tunnel,
                    host,
                    exit,
                } = *crossing;
                let (port, exit) = exit.unzip();
                let ports = Ports {
                    gateway,
                    tunnel,
                    host,
                    exit: port,
                };
                (Core::Gateway(Box::new(ports)), exit)
            }
        };
        let between = Self {
            judges: matches!(core, Core::Gateway(_)),
            state: Mutex::new(State { core, armed: None }),
            timer: Timer::new()?,
            host: Mutex::new(host.map(Queue::try_clone).transpose()?),
            exit: OnceLock::new(),
            tap: Tap::default(),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok((Some(between), exit))
    }

    /// Opens the way out. What comes back by it is judged as everything else.
    pub(super) fn open_exit(&self, exit: Exit, shared: &Arc<Shared>) -> io::Result<()> {
        let Exit::Proxy(options) = exit;
        let back = Arc::new(WayBack(Arc::downgrade(shared)));
        let proxy = Proxy::start(options, back).map_err(io::Error::other)?;
        // Opened once, when the device is made.
        let _ = self.exit.set(proxy);
        Ok(())
    }

    /// Where the gateway's packets are looked at.
    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Whether what was decrypted is judged here, and not by the kernel.
    pub(super) fn judges(&self) -> bool {
        self.judges
    }

    /// Readable when [`Session::distribute`] has something to do.
    pub(super) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.0.as_fd()
    }

    /// Forgets that the timer ran out.
    pub(super) fn clear_timer(&self) {
        // Reading a timer that has not run out does nothing.
        let _ = rustix::io::read(&self.timer.0, &mut [0; 8]);
    }

    /// Takes the lock for a batch. `worker` is the caller's number when it is a worker: that one reads its mails by itself.
    pub(super) fn session<'a>(&'a self, shared: &'a Shared, worker: Option<usize>) -> Session<'a> {
        Session {
            between: self,
            shared,
            worker,
            state: lock(&self.state),
            now: now(),
        }
    }

    /// Packets lost on the way out of here since the last call: those no worker had room for, and those that the interface
    /// refused.
    pub(super) fn take_losses(&self) -> (u64, u64) {
        (self.lost.swap(0, Ordering::Relaxed), self.refused.swap(0, Ordering::Relaxed))
    }
}

/// A batch on its way through, under the lock.
pub(super) struct Session<'a> {
    between: &'a Between,
    shared: &'a Shared,
    worker: Option<usize>,
    state: MutexGuard<'a, State>,
    now: Now,
}

impl Session<'_> {
    /// Takes a packet that a peer sent.
    pub(super) fn from_tunnel(&mut self, data: Vec<u8>, offload: Offload) {
        if let Core::Gateway(ports) = &mut self.state.core {
            let buffer = Buffer { data, offload };
            ports.receive(ports.tunnel, buffer, &self.between.tap, self.now);
        }
    }

    /// Takes a packet that the kernel sent to the interface.
    pub(super) fn from_host(&mut self, data: Vec<u8>, offload: Offload) {
        let buffer = Buffer { data, offload };
        match &mut self.state.core {
            Core::Egress(egress) => egress.enqueue(buffer, Key::default(), self.now.mono),
            Core::Gateway(ports) => ports.receive(ports.host, buffer, &self.between.tap, self.now),
        }
    }

    /// Takes a packet that came in by the exit.
    fn from_exit(&mut self, packet: Buffer) {
        if let Core::Gateway(ports) = &mut self.state.core {
            // Without an interface the hub's own answers come this way, too.
            let from_here = inner::source(&packet.data).is_some_and(|source| ports.gateway.is_local(source));
            let port = if from_here { Some(ports.host) } else { ports.exit };
            if let Some(port) = port {
                ports.receive(port, packet, &self.between.tap, self.now);
            }
        }
    }

    pub(super) fn gateway<T>(&mut self, work: impl FnOnce(&mut Gateway, Now) -> T) -> Option<T> {
        match &mut self.state.core {
            Core::Gateway(ports) => Some(work(&mut ports.gateway, self.now)),
            Core::Egress(_) => None,
        }
    }

    pub(super) fn egress<T>(&mut self, work: impl FnOnce(&mut Egress, u64) -> T) -> Option<T> {
        match &mut self.state.core {
            Core::Egress(egress) => Some(work(egress, self.now.mono)),
            Core::Gateway(_) => None,
        }
    }

    /// Brings everything that is due to where it goes, and sets the timer for the rest.
    pub(super) fn distribute(mut self) {
        let mut to_host = Vec::new();
        let State { core, armed } = &mut *self.state;
        let due = match core {
            Core::Egress(egress) => {
                while let Some(buffer) = egress.dequeue(self.now.mono) {
                    self.between.to_peer(self.shared, self.worker, buffer);
                }
                egress.poll_timeout()
            }
            Core::Gateway(ports) => {
                if ports.gateway.poll_timeout().is_some_and(|due| due <= self.now.mono) {
                    ports.gateway.handle_timeout(self.now);
                }
                while let Some((port, buffer)) = ports.gateway.transmit(self.now) {
                    if port == ports.tunnel {
                        self.between.to_peer(self.shared, self.worker, buffer);
                    } else if port == ports.host {
                        to_host.push(buffer);
                    } else {
                        self.between.to_exit(buffer);
                    }
                }
                ports.gateway.poll_timeout()
            }
        };
        // A timer that runs out too early does no harm.
        let stands = armed.is_some_and(|armed| armed > self.now.mono && due.is_none_or(|due| armed <= due));
        if !stands {
            self.between.timer.set(due);
            *armed = due;
        }
        if !to_host.is_empty() {
            let host = lock(&self.between.host);
            drop(self.state);
            self.between.to_host(host.as_ref(), to_host);
        }
    }
}

impl Between {
    /// Leaves a packet with the worker whose peer it is for.
    fn to_peer(&self, shared: &Shared, own: Option<usize>, buffer: Buffer) {
        let slot = inner::destination(&buffer.data).and_then(|destination| shared.roster().allowed_ips().lookup(destination));
        // Where no peer is, any worker says so.
        let worker = slot.map_or(own.unwrap_or(0), |slot| shared.worker_of(slot));
        let Buffer { data: bytes, offload } = buffer;
        let mail = Mail::Packet { bytes, offload };
        let inbox = &shared.inboxes[worker];
        let posted = if own == Some(worker) {
            inbox.leave(mail)
        } else {
            inbox.post(mail)
        };
        if !posted {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn to_host(&self, queue: Option<&Queue>, buffers: Vec<Buffer>) {
        for buffer in buffers {
            match queue {
                Some(queue) => {
                    if let Err(error) = queue.write(&buffer.offload, &[IoSlice::new(&buffer.data)]) {
                        log::debug!("interface: {error}");
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
                None => self.to_exit(buffer),
            }
        }
    }

    fn to_exit(&self, buffer: Buffer) {
        let lost = match self.exit.get() {
            Some(proxy) if proxy.send(buffer) => return,
            Some(_) => &self.lost,
            None => &self.refused,
        };
        lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the proxy brings back.
struct WayBack(Weak<Shared>);

impl proxy::Sink for WayBack {
    fn send(&self, packets: &mut Vec<Buffer>) {
        let Some(shared) = self.0.upgrade() else {
            return packets.clear();
        };
        if let Some(between) = &shared.between {
            let mut session = between.session(&shared, None);
            for packet in packets.drain(..) {
                session.from_exit(packet);
            }
            session.distribute();
        }
    }
}

/// Wakes who waits for it at a moment of the monotonic clock.
struct Timer(OwnedFd);

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// `None` for never. What it said before counts no more.
    fn set(&self, due: Option<u64>) {
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = due.map_or(nothing, |due| {
            // Zero would be never.
            let due = due.max(1);
            Timespec {
                tv_sec: (due / Now::SECOND).try_into().unwrap_or(i64::MAX),
                tv_nsec: (due % Now::SECOND) as _,
            }
        });
        let value = Itimerspec {
            it_interval: nothing,
            it_value,
        };
        // It is a timer, and the time is in range: nothing else can fail.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &value);
    }
}

fn now() -> Now {
    let nanoseconds = |id| {
        let time = clock_gettime(id);
        u64::try_from(time.tv_sec).unwrap_or_default() * Now::SECOND + u64::try_from(time.tv_nsec).unwrap_or_default()
    };
    Now {
        mono: nanoseconds(ClockId::Monotonic),
        wall: nanoseconds(ClockId::Realtime),
    }
}
