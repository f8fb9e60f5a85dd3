//! What stands between the tunnel and the interface: nothing, the disciplines of the way to the peers, or the whole gateway.
//!
//! Workers decrypt what they receive without it, and bring it here in batches. What comes out is left with the worker whose
//! peer it is for, in its order: a worker encrypts only what is in its inbox. Whoever holds the lock distributes what is due
//! before letting it go, and a timer wakes the first worker for what is due later.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use fielato_gateway::{
    Buffer, Egress, Gateway, Key, PortId,
    trace::{Outcome, RouteVerdict, Station},
};
use fielato_netfilter::Now;
use fielato_wire::Offload;
use fielato_wireguard::inner;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use super::inbox::Mail;
use super::shared::{Shared, lock};
use super::way_out::{Opened, WayOut};
use crate::tap::{Direction, Side, Tap};
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
    pub exit: Option<(PortId, WayOut)>,
}

/// [`Middle`] at work.
pub(super) struct Between {
    state: Mutex<State>,
    /// Whether what was decrypted is judged here, and not by the kernel.
    judges: bool,
    /// Disciplines that are none: packets pass them by.
    idle: AtomicBool,
    /// Runs out when something is due to leave.
    timer: Timer,
    /// For local delivery.
    host: Option<Queue>,
    exit: RwLock<Option<Opened>>,
    /// Held while packets leave by the two. Taken before the state is let go, so that they keep their order.
    leaving: Mutex<()>,
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
    /// Gives the gateway a packet, and shows it with what it met to who looks.
    fn receive(&mut self, port: PortId, packet: Buffer, now: Now, tap: &Tap) {
        let direction = match port == self.tunnel {
            true => Direction::Inbound,
            false => Direction::Outbound,
        };
        let Some(ticket) = tap.ask(direction, Duration::from_nanos(now.wall), &packet.data) else {
            return self.gateway.receive(port, packet, now);
        };
        if !ticket.explains() {
            self.gateway.receive(port, packet, now);
            return ticket.show(None);
        }
        let stations = self.gateway.receive_traced(port, packet, now);
        // Only its way tells whether a packet from elsewhere goes towards the tunnel.
        if direction == Direction::Inbound || self.leads_to_tunnel(&stations) {
            ticket.show(Some(&stations));
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
    pub(super) fn new(middle: Middle, host: Option<&Queue>) -> io::Result<(Option<Self>, Option<WayOut>)> {
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
            idle: AtomicBool::new(matches!(&core, Core::Egress(egress) if is_plain(egress))),
            state: Mutex::new(State { core, armed: None }),
            timer: Timer::new()?,
            host: host.map(Queue::try_clone).transpose()?,
            exit: RwLock::new(None),
            leaving: Mutex::new(()),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok((Some(between), exit))
    }

    /// Opens the way out.
    pub(super) fn open_exit(&self, way: WayOut, shared: &Arc<Shared>) -> io::Result<()> {
        let opened = Opened::open(way, shared)?;
        self.replace_exit(Some(opened));
        Ok(())
    }

    /// Closes the way out and waits for its thread. That thread may hold the last but one reference to all of this, so the device
    /// does it before it lets go.
    pub(super) fn close_exit(&self) {
        self.replace_exit(None);
    }

    fn replace_exit(&self, exit: Option<Opened>) {
        let mut place = self.exit.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, exit);
        drop(place);
        // Its thread may be about to send: not under the lock.
        drop(before);
    }

    /// Whether what was decrypted is judged here, and not by the kernel.
    pub(super) fn judges(&self) -> bool {
        self.judges
    }

    /// Whether nothing stands in between now, and nothing waits there.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
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

/// Whether there are no disciplines, and nothing is left in what was there before.
fn is_plain(egress: &Egress) -> bool {
    egress.is_empty() && egress.stats().iter().all(|stats| stats.is_default())
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
    pub(super) fn take_from_tunnel(&mut self, data: Vec<u8>, offload: Offload) {
        if let Core::Gateway(ports) = &mut self.state.core {
            let port = ports.tunnel;
            ports.receive(port, Buffer { data, offload }, self.now, &self.shared.tap);
        }
    }

    /// Takes a packet that the kernel sent to the interface.
    pub(super) fn take_from_host(&mut self, data: Vec<u8>, offload: Offload) {
        let buffer = Buffer { data, offload };
        match &mut self.state.core {
            Core::Egress(egress) => egress.enqueue(buffer, Key::default(), self.now.mono),
            Core::Gateway(ports) => {
                let port = ports.host;
                ports.receive(port, buffer, self.now, &self.shared.tap);
            }
        }
    }

    /// Takes a packet that came in by the exit.
    pub(super) fn take_from_exit(&mut self, packet: Buffer) {
        if let Core::Gateway(ports) = &mut self.state.core {
            // Without an interface the hub's own answers come this way, too.
            let from_here = inner::source(&packet.data).is_some_and(|source| ports.gateway.is_local(source));
            let port = if from_here { Some(ports.host) } else { ports.exit };
            if let Some(port) = port {
                ports.receive(port, packet, self.now, &self.shared.tap);
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
            Core::Egress(egress) => {
                let result = work(egress, self.now.mono);
                self.between.idle.store(is_plain(egress), Ordering::Relaxed);
                Some(result)
            }
            Core::Gateway(_) => None,
        }
    }

    /// Brings everything that is due to where it goes, and sets the timer for the rest.
    pub(super) fn distribute(mut self) {
        let (mut to_host, mut to_exit) = (Vec::new(), Vec::new());
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
                        let at = Duration::from_nanos(self.now.wall);
                        self.shared.tap.show(Side::Clear, Direction::Outbound, at, &buffer.data);
                        self.between.to_peer(self.shared, self.worker, buffer);
                    } else if port == ports.host && self.between.host.is_some() {
                        to_host.push(buffer);
                    } else {
                        to_exit.push(buffer);
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
        if !to_host.is_empty() || !to_exit.is_empty() {
            let _leaving = lock(&self.between.leaving);
            drop(self.state);
            self.between.to_host(&to_host);
            self.between.to_exit(to_exit);
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

    fn to_host(&self, buffers: &[Buffer]) {
        let Some(queue) = &self.host else { return };
        for buffer in buffers {
            if let Err(error) = queue.write(&buffer.offload, &[IoSlice::new(&buffer.data)]) {
                log::debug!("interface: {error}");
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn to_exit(&self, buffers: Vec<Buffer>) {
        if buffers.is_empty() {
            return;
        }
        match &*self.exit.read().unwrap_or_else(PoisonError::into_inner) {
            Some(exit) => self.lost.fetch_add(exit.send(buffers), Ordering::Relaxed),
            None => self.refused.fetch_add(buffers.len() as u64, Ordering::Relaxed),
        };
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
