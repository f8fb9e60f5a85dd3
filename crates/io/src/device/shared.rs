//! What a device's threads share.
//!
//! Locks are taken in this order: `configuring`, `sockets`, `steering`, those of `between`, `roster`, `front`, `shards` by number. On the data path a worker
//! takes the roster (to read) and its own shard once for a batch; nobody else wants that shard but who configures, and the
//! handshake thread for the moment in which a peer's initiation is answered.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use fielato_wireguard::allowed_ips::Slot;
use fielato_wireguard::device::Control;
use fielato_wireguard::roster::AllowedIpMove;
use fielato_wireguard::uapi::{Report, SetDevice};
use fielato_wireguard::{Destination, DropReason, Front, Outbox, Roster, Shard};

use super::inbox::Inbox;
use super::middle::Between;
use super::transmit::SendBatch;
use super::{Exit, SetError};
use crate::fd::Waker;
use crate::tap::Tap;
use crate::tun::Interface;
use crate::tun::steer::Steering;
use crate::udp::Sockets;

/// Shared by all threads of a device.
pub(crate) struct Shared {
    pub(super) roster: RwLock<Roster>,
    pub(super) front: Mutex<Front>,
    pub(super) shards: Vec<Mutex<Shard>>,
    pub(super) inboxes: Vec<Inbox>,
    /// `None` where all packets are judged here, and none are for this machine's kernel.
    pub(super) interface: Option<Interface>,
    /// What stands between the peers and the interface.
    pub(super) between: Option<Between>,
    /// Where packets are looked at.
    pub(super) tap: Tap,
    /// Tells the kernel which worker serves which destination.
    steering: Mutex<Option<Steering>>,
    sockets: RwLock<Arc<Sockets>>,
    /// Counts the changes of `sockets`.
    generation: AtomicUsize,
    /// Held while sockets and configuration are changed together.
    pub(super) configuring: Mutex<()>,
    /// Of the thread that answers initiations.
    pub(super) handshakes: Waker,
    /// Of the thread that answers `wg`.
    pub(super) uapi: Waker,
    stopping: AtomicBool,
    exit: Mutex<ExitState>,
    exited: Condvar,
}

#[derive(Default)]
struct ExitState {
    reason: Option<Exit>,
    listeners: Vec<Sender<Exit>>,
}

impl Shared {
    pub(super) fn new(
        roster: Roster,
        front: Front,
        shards: Vec<Shard>,
        interface: Option<Interface>,
        between: Option<Between>,
        sockets: Sockets,
        steering: Option<Steering>,
    ) -> io::Result<Self> {
        Ok(Self {
            roster: RwLock::new(roster),
            front: Mutex::new(front),
            inboxes: shards.iter().map(|_| Inbox::new()).collect::<io::Result<_>>()?,
            shards: shards.into_iter().map(Mutex::new).collect(),
            interface,
            between,
            tap: Tap::default(),
            steering: Mutex::new(steering),
            sockets: RwLock::new(Arc::new(sockets)),
            generation: AtomicUsize::new(0),
            configuring: Mutex::new(()),
            handshakes: Waker::new()?,
            uapi: Waker::new()?,
            stopping: AtomicBool::new(false),
            exit: Mutex::new(ExitState::default()),
            exited: Condvar::new(),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether what was decrypted is judged here, and not by the kernel.
    pub(super) fn judges(&self) -> bool {
        self.between.as_ref().is_some_and(Between::judges)
    }

    pub(super) fn roster(&self) -> RwLockReadGuard<'_, Roster> {
        self.roster.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shard(&self, worker: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[worker])
    }

    /// Which worker has the peer of this slot.
    pub(super) fn worker_of(&self, slot: Slot) -> usize {
        slot as usize % self.shards.len()
    }

    /// The sockets, and a number that changes with them.
    pub(super) fn sockets(&self) -> (Arc<Sockets>, usize) {
        let sockets = self.sockets.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&sockets), self.generation())
    }

    pub(super) fn generation(&self) -> usize {
        self.generation.load(Ordering::Acquire)
    }

    /// All parts of the device, while nobody else works with them.
    pub(super) fn with_control<T>(&self, work: impl FnOnce(&mut Control<'_, MutexGuard<'_, Shard>>) -> T) -> T {
        let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        let mut front = lock(&self.front);
        let mut shards: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(lock).collect();
        work(&mut Control {
            roster: &mut roster,
            front: &mut front,
            shards: &mut shards,
        })
    }

    pub(crate) fn report(&self) -> Report {
        self.with_control(|control| control.report(Instant::now(), SystemTime::now()))
    }

    /// Does what `wg` asked for.
    pub(crate) fn configure(&self, changes: &SetDevice) -> Result<(), SetError> {
        let _one = lock(&self.configuring);
        self.reconfigure(changes.listen_port, changes.fwmark, |control, now, out| {
            control.configure(changes, now, out);
        })
    }

    /// Changes sockets and configuration together; when the sockets cannot be changed, nothing is.
    pub(super) fn reconfigure(
        &self,
        port: Option<u16>,
        fwmark: Option<u32>,
        change: impl FnOnce(&mut Control<'_, MutexGuard<'_, Shard>>, Instant, &mut Outbox),
    ) -> Result<(), SetError> {
        let (old, _) = self.sockets();
        let mark = fwmark.unwrap_or_else(|| self.roster().fwmark());
        let new = match port {
            Some(port) if port != old.port => {
                let sockets = Sockets::bind(port, mark, self.shards.len());
                Some(Arc::new(sockets.map_err(|source| SetError::Port { port, source })?))
            }
            _ => None,
        };
        let sockets = new.as_ref().unwrap_or(&old);
        sockets.set_fwmark(mark).map_err(|source| SetError::Mark { mark, source })?;
        let port = sockets.port;
        if let Some(new) = new {
            *self.sockets.write().unwrap_or_else(PoisonError::into_inner) = new;
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.change(|control, now, out| {
            change(control, now, out);
            control.roster.set_listen_port(port);
        });
        Ok(())
    }

    /// Changes the configuration, sends what follows from it, and has every worker look at its timers.
    pub(super) fn change(&self, change: impl FnOnce(&mut Control<'_, MutexGuard<'_, Shard>>, Instant, &mut Outbox)) {
        let mut out = Outbox::new();
        // Held throughout, so that changes reach the kernel in their order.
        let mut steering = lock(&self.steering);
        let moves = self.with_control(|control| {
            change(control, Instant::now(), &mut out);
            control.roster.take_changes()
        });
        if let Some(steering) = &mut *steering {
            self.steer(steering, &moves);
        }
        drop(steering);
        self.send(&out);
        self.wake_all();
    }

    /// What the kernel does not take is handed over by the worker that gets it instead.
    fn steer(&self, steering: &mut Steering, moves: &[AllowedIpMove]) {
        let results = moves.iter().map(|(prefix, owner)| match owner {
            Some(slot) => steering.set(*prefix, self.worker_of(*slot) as u32),
            None => steering.remove(*prefix),
        });
        if let Some(error) = results.filter_map(Result::err).next() {
            log::warn!("steering packets to their workers: {error}");
        }
    }

    /// Sends what is for the network from the first worker's sockets.
    fn send(&self, out: &Outbox) {
        let (sockets, _) = self.sockets();
        let Some(pair) = sockets.workers.first() else { return };
        let mut batch = SendBatch::new();
        let mut lost = 0;
        for (destination, packet) in out.iter() {
            if let Destination::Network { path, tos } = destination {
                lost += batch.add(packet, &path, tos, pair);
            }
        }
        lost += batch.flush(pair);
        if lost > 0 {
            lock(&self.front).count_drop(DropReason::SendFailed, lost as u64);
        }
    }

    /// Has every thread look around.
    fn wake_all(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.waker.wake());
        self.handshakes.wake();
        self.uapi.wake();
    }

    /// Ends all threads. The first reason counts.
    pub(super) fn end(&self, reason: Exit) {
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
        self.wake_all();
    }

    pub(super) fn notify_exit(&self, to: Sender<Exit>) {
        let mut state = lock(&self.exit);
        match state.reason {
            // Nobody listens any more: nothing to tell.
            Some(reason) => drop(to.send(reason)),
            None => state.listeners.push(to),
        }
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Exit> {
        let state = lock(&self.exit);
        let running = |state: &mut ExitState| state.reason.is_none();
        let result = self.exited.wait_timeout_while(state, timeout, running);
        result.unwrap_or_else(PoisonError::into_inner).0.reason
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
