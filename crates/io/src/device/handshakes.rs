//! The thread that takes handshake initiations: the only work that a stranger can cause.
//!
//! It has sockets of its own, with their own room, so that a flood fills neither the workers' sockets nor their time; and it
//! is nice to them where cores are short.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fielato_wireguard::message::Message;
use fielato_wireguard::{Destination, DropReason, Origin, Outbox};

use super::inbox::Mail;
use super::shared::{Shared, lock};
use super::transmit::SendBatch;
use crate::poller::Poller;
use crate::tap::Direction;
use crate::tun::Interface;
use crate::udp::{ReceiveBatch, Sockets, Udp};

/// How often the interface's MTU is looked at: anyone may change it.
const MTU_INTERVAL: Duration = Duration::from_millis(250);

/// How much these handshakes yield to the data path (`man 7 sched`).
const NICE: i32 = 5;

const WAKER: u32 = 0;
const V4: u32 = 1;
const V6: u32 = 2;

pub(super) fn run(shared: &Arc<Shared>) -> io::Result<()> {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        log::debug!("handshakes: no lower priority: {error}");
    }
    let mut batch = ReceiveBatch::new();
    let mut send = SendBatch::new();
    let mut out = Outbox::new();
    let mut next_mtu = Instant::now();
    while !shared.is_stopping() {
        let (sockets, generation) = shared.sockets();
        let poller = Poller::new()?;
        poller.add(&shared.handshakes, WAKER)?;
        poller.add(&sockets.initiations.v4, V4)?;
        if let Some(v6) = &sockets.initiations.v6 {
            poller.add(v6, V6)?;
        }
        while !shared.is_stopping() && shared.generation() == generation {
            let now = Instant::now();
            if now >= next_mtu {
                next_mtu = now + MTU_INTERVAL;
                refresh_mtu(shared);
            }
            let ready = poller.wait(Some(next_mtu.saturating_duration_since(now)))?;
            if ready.contains(WAKER) {
                shared.handshakes.clear();
            }
            if ready.contains(V4) {
                receive(shared, &sockets.initiations.v4, sockets.port, &mut batch, &mut out);
            }
            if ready.contains(V6)
                && let Some(v6) = &sockets.initiations.v6
            {
                receive(shared, v6, sockets.port, &mut batch, &mut out);
            }
            deliver(shared, &sockets, &mut out, &mut send);
        }
    }
    Ok(())
}

fn receive(shared: &Arc<Shared>, socket: &Udp, port: u16, batch: &mut ReceiveBatch, out: &mut Outbox) {
    if let Err(error) = socket.receive(batch) {
        if error.kind() != io::ErrorKind::WouldBlock {
            // An error that an earlier datagram left on the socket. Not one to end for.
            log::debug!("receive: {error}");
        }
        return;
    }
    let now = Instant::now();
    let seen = shared
        .tap
        .is_on()
        .then(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let (buffer, arrivals) = batch.arrivals();
    for arrival in arrivals {
        for range in arrival.datagrams() {
            if let Some(at) = seen {
                let Origin { path, tos } = &arrival.origin;
                let bytes = &buffer[range.clone()];
                shared.tap.show_datagram(Direction::Inbound, at, path, *tos, port, bytes);
            }
            datagram(shared, &buffer[range], &arrival.origin, now, out);
        }
    }
}

fn datagram(shared: &Arc<Shared>, datagram: &[u8], origin: &Origin, now: Instant, out: &mut Outbox) {
    match Message::parse(datagram) {
        Ok(Message::Initiation(message)) => {
            let Some(claim) = lock(&shared.front).claim(message, &origin.path, now, out) else {
                return;
            };
            let Some(slot) = shared.roster().find(&claim.peer) else {
                return lock(&shared.front).count_drop(DropReason::UnknownPeer, 1);
            };
            let worker = shared.worker_of(slot);
            shared.shard(worker).handle_initiation(slot, claim, &origin.path, now, out);
            // The worker may have to look at timers earlier than it thinks.
            shared.inboxes[worker].waker.wake();
        }
        Ok(message) => {
            let worker = message.receiver().map_or(0, |index| index as usize & 0xff);
            let worker = if worker < shared.shards.len() { worker } else { 0 };
            let bytes = datagram.to_vec();
            if !shared.inboxes[worker].post(Mail::Datagram { bytes, origin: *origin }) {
                lock(&shared.front).count_drop(DropReason::QueueFull, 1);
            }
        }
        Err(reason) => lock(&shared.front).count_drop(reason, 1),
    }
}

fn deliver(shared: &Shared, sockets: &Sockets, out: &mut Outbox, send: &mut SendBatch) {
    let mut lost = 0;
    for (destination, packet) in out.iter() {
        if let Destination::Network { path, tos } = destination {
            lost += send.add(packet, &path, tos, &sockets.initiations);
        }
    }
    out.clear();
    send.show(&shared.tap, sockets.port);
    lost += send.flush(&sockets.initiations);
    if lost > 0 {
        lock(&shared.front).count_drop(DropReason::SendFailed, lost as u64);
    }
}

fn refresh_mtu(shared: &Shared) {
    if let Some(Ok(mtu)) = shared.interface.as_ref().map(Interface::mtu) {
        (0..shared.shards.len()).for_each(|worker| shared.shard(worker).set_mtu(mtu));
    }
}
