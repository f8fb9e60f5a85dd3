//! A worker: one queue of the interface, two sockets, one shard of the peers. It runs every packet to its end: read,
//! encrypt, send; receive, decrypt, write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, MutexGuard, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fielato_wire::Offload;
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::Segments;
use fielato_wireguard::message::{DATA_HEADER, Message};
use fielato_wireguard::shard::{NoSender, Shard};
use fielato_wireguard::{Destination, DropReason, Origin, Outbox, Roster, inner};

use super::inbox::Mail;
use super::middle::Between;
use super::shared::{Shared, lock};
use super::transmit::SendBatch;
use crate::poller::Poller;
use crate::tap::Direction;
use crate::tun::{Offloads, Queue, READ_MAX};
use crate::udp::{ReceiveBatch, Sockets, Udp};

/// Packets read from the interface before the sockets have their turn.
const READS: usize = 64;

/// Bytes that are sent before more is read: the peer works on them meanwhile.
const SEND_BYTES: usize = 32 << 10;

/// Bytes that are decrypted before they are written, unless no more arrived: enough to join, and still in the cache.
const WRITE_BYTES: usize = 48 << 10;

/// Packets joined into one: what the kernel forwards into the interface again, it cuts if it is longer than [`super::SEGMENTS`].
const JOIN_MAX: usize = 44;

/// How soon a TUN that is down is looked at again.
const DOWN: Duration = Duration::from_millis(250);

const WAKER: u32 = 0;
const V4: u32 = 1;
const V6: u32 = 2;
const TUN: u32 = 3;
const TIMER: u32 = 4;

pub(super) struct Worker {
    number: usize,
    shared: Arc<Shared>,
    /// `None` where there is no interface.
    queue: Option<Queue>,
    /// Whether this worker reads its queue, or another one reads for it.
    reads: bool,
    /// Packets on their way from the interface to what stands in between.
    read: Vec<(Vec<u8>, Offload)>,
    coalescer: Coalescer,
    send: SendBatch,
    out: Outbox,
    mails: VecDeque<Mail>,
    unsent: u64,
    refused: u64,
}

impl Worker {
    pub(super) fn new(number: usize, shared: &Arc<Shared>, queue: Option<Queue>, reads: bool) -> Self {
        let offloads = queue.as_ref().map_or(Offloads { tcp: true, udp: true }, Queue::offloads);
        let join = if offloads.tcp { JOIN_MAX } else { 1 };
        Self {
            number,
            shared: Arc::clone(shared),
            coalescer: Coalescer::new(join, offloads.udp),
            queue,
            reads,
            read: Vec::new(),
            send: SendBatch::new(),
            out: Outbox::new(),
            mails: VecDeque::new(),
            unsent: 0,
            refused: 0,
        }
    }

    /// Works until the device ends.
    ///
    /// # Errors
    /// What the system says when the interface is gone, or nothing works any more.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut batch = ReceiveBatch::new();
        let mut read = vec![0; READ_MAX];
        while !self.shared.is_stopping() {
            let (sockets, generation) = self.shared.sockets();
            self.work(&sockets, generation, &mut batch, &mut read)?;
        }
        Ok(())
    }

    /// Works with these sockets.
    fn work(&mut self, sockets: &Sockets, generation: usize, batch: &mut ReceiveBatch, read: &mut [u8]) -> io::Result<()> {
        let pair = &sockets.workers[self.number];
        let poller = Poller::new()?;
        poller.add(&self.shared.inboxes[self.number].waker, WAKER)?;
        poller.add(&pair.v4, V4)?;
        if let Some(v6) = &pair.v6 {
            poller.add(v6, V6)?;
        }
        if let Some(queue) = self.queue.as_ref().filter(|_| self.reads) {
            poller.add(queue, TUN)?;
        }
        let shared = Arc::clone(&self.shared);
        let timer = shared.between.as_ref().filter(|_| self.number == 0).map(Between::timer);
        if let Some(timer) = timer {
            poller.add(timer, TIMER)?;
        }
        while !self.shared.is_stopping() && self.shared.generation() == generation {
            let ready = poller.wait(self.timeout())?;
            let now = Instant::now();
            if ready.contains(WAKER) {
                self.shared.inboxes[self.number].waker.clear();
                self.read_mails(sockets, now);
            }
            if ready.contains(V4) {
                self.receive(&pair.v4, batch, sockets, now);
            }
            if ready.contains(V6)
                && let Some(v6) = &pair.v6
            {
                self.receive(v6, batch, sockets, now);
            }
            if ready.contains(TUN) {
                self.transmit(read, sockets, now)?;
            }
            if let Some(between) = shared.between.as_ref().filter(|_| ready.contains(TIMER)) {
                between.clear_timer();
                between.session(&shared, Some(self.number)).distribute();
                self.read_mails(sockets, now);
            }
            self.tick(now);
            self.deliver(sockets, now);
        }
        Ok(())
    }

    /// How long nothing is due.
    fn timeout(&self) -> Option<Duration> {
        let due = self.shared.shard(self.number).poll_timeout()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn tick(&mut self, now: Instant) {
        let mut shard = self.shared.shard(self.number);
        if shard.poll_timeout().is_some_and(|due| due <= now) {
            shard.handle_timeout(now, SystemTime::now(), &mut self.out);
        }
        let between = self.shared.between.as_ref().map(Between::take_losses);
        let (crowded, rejected) = between.unwrap_or_default();
        let (unsent, refused) = (std::mem::take(&mut self.unsent), std::mem::take(&mut self.refused) + rejected);
        if unsent + refused + crowded > 0 {
            shard.count_drop(DropReason::SendFailed, unsent);
            shard.count_drop(DropReason::InterfaceRefused, refused);
            shard.count_drop(DropReason::QueueFull, crowded);
        }
    }
}

/// The way in.
impl Worker {
    /// Takes what arrived at the socket, once.
    fn receive(&mut self, socket: &Udp, batch: &mut ReceiveBatch, sockets: &Sockets, now: Instant) {
        if let Err(error) = socket.receive(batch) {
            if error.kind() != io::ErrorKind::WouldBlock {
                // An error that an earlier datagram left on the socket. Not one to end for.
                log::debug!("receive: {error}");
            }
            return;
        }
        let shared = Arc::clone(&self.shared);
        let (buffer, arrivals) = batch.arrivals();
        let seen = shared
            .tap
            .is_on()
            .then(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut arrivals = arrivals.peekable();
        while arrivals.peek().is_some() {
            let mut bytes = 0;
            let mut receiver = Receiver::new(&shared, self.number, now, &mut self.out);
            while bytes < WRITE_BYTES
                && let Some(arrival) = arrivals.next()
            {
                bytes += arrival.range.len();
                for range in arrival.datagrams() {
                    if let Some(at) = seen {
                        let Origin { path, tos } = &arrival.origin;
                        let datagram = &buffer[range.clone()];
                        shared
                            .tap
                            .show_datagram(Direction::Inbound, at, path, *tos, sockets.port, datagram);
                    }
                    if let Some(inner) = receiver.take(buffer, range, &arrival.origin)
                        && self.coalescer.push(buffer, inner).is_err()
                    {
                        receiver.shard.count_drop(DropReason::InnerMalformed, 1);
                    }
                }
            }
            drop(receiver);
            self.pass_on(buffer);
            if !self.out.is_empty() {
                self.deliver(sockets, now);
            }
            if shared.judges() {
                self.read_mails(sockets, now);
            }
        }
        if shared.judges() {
            self.flush(sockets);
        }
    }

    /// Brings what was decrypted to the gateway or, without one, to the interface.
    fn pass_on(&mut self, buffer: &mut [u8]) {
        match (&self.shared.between, &self.queue) {
            (Some(between), _) if between.judges() => {
                let items = self.coalescer.finish(buffer);
                if items.len() == 0 {
                    return;
                }
                let buffer = &*buffer;
                let mut session = between.session(&self.shared, Some(self.number));
                for item in items {
                    let parts: Vec<&[u8]> = item.parts.iter().map(|part| &buffer[part.clone()]).collect();
                    session.take_from_tunnel(parts.concat(), item.offload);
                }
                session.distribute();
            }
            (_, Some(queue)) => self.refused += write(queue, &mut self.coalescer, buffer),
            // There is no interface only where everything is judged.
            (_, None) => drop(self.coalescer.finish(buffer)),
        }
    }

    /// Takes what other threads left.
    fn read_mails(&mut self, sockets: &Sockets, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let mut mails = std::mem::take(&mut self.mails);
        loop {
            shared.inboxes[self.number].take(&mut mails);
            if mails.is_empty() {
                break;
            }
            for mail in mails.drain(..) {
                self.read_mail(mail, &shared, sockets, now);
                if self.send.len() >= SEND_BYTES {
                    self.flush(sockets);
                }
            }
        }
        self.mails = mails;
    }

    fn read_mail(&mut self, mail: Mail, shared: &Arc<Shared>, sockets: &Sockets, now: Instant) {
        match mail {
            Mail::Datagram { mut bytes, origin } => {
                let range = 0..bytes.len();
                let mut receiver = Receiver::new(shared, self.number, now, &mut self.out);
                if let Some(inner) = receiver.take(&mut bytes, range, &origin)
                    && self.coalescer.push(&bytes, inner).is_err()
                {
                    receiver.shard.count_drop(DropReason::InnerMalformed, 1);
                }
                drop(receiver);
                self.pass_on(&mut bytes);
            }
            Mail::Packet { bytes, offload } => {
                let roster = shared.roster();
                let mut shard = shared.shard(self.number);
                self.outgoing(&roster, &mut shard, &bytes, &offload, sockets, now);
            }
        }
    }
}

/// What taking datagrams needs, borrowed from the worker and the device for a batch.
struct Receiver<'a> {
    shared: &'a Shared,
    number: usize,
    roster: RwLockReadGuard<'a, Roster>,
    shard: MutexGuard<'a, Shard>,
    now: Instant,
    out: &'a mut Outbox,
}

impl<'a> Receiver<'a> {
    fn new(shared: &'a Shared, number: usize, now: Instant, out: &'a mut Outbox) -> Self {
        Self {
            shared,
            number,
            roster: shared.roster(),
            shard: shared.shard(number),
            now,
            out,
        }
    }

    /// Takes one datagram; what was decrypted from it stands where the result says.
    fn take(&mut self, buffer: &mut [u8], range: Range<usize>, origin: &Origin) -> Option<Range<usize>> {
        let start = range.start;
        let datagram = &mut buffer[range];
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(reason) => {
                self.shard.count_drop(reason, 1);
                return None;
            }
        };
        let (now, path) = (self.now, &origin.path);
        if let Some(receiver) = message.receiver() {
            let worker = receiver as usize & 0xff;
            if worker != self.number && worker < self.shared.shards.len() {
                self.post(worker, datagram, origin);
                return None;
            }
        }
        match message {
            Message::Data { receiver, .. } => {
                let allowed_ips = self.roster.allowed_ips();
                let inner = self.shard.handle_data(datagram, receiver, origin, allowed_ips, now, self.out);
                let range = inner.ok().flatten()?.range;
                return Some(start + range.start..start + range.end);
            }
            Message::Response(message) => self.shard.handle_response(message, path, now, self.out),
            Message::CookieReply(message) => self.shard.handle_cookie(message, now),
            // The kernel gives these to the other thread, but for those that it joined to a peer's data (`UDP_GRO`).
            Message::Initiation(message) => {
                let claim = lock(&self.shared.front).claim(message, path, now, self.out)?;
                match self.roster.find(&claim.peer) {
                    Some(slot) if self.shard.has(slot) => self.shard.handle_initiation(slot, claim, path, now, self.out),
                    Some(slot) => self.post(self.shared.worker_of(slot), message, origin),
                    None => self.shard.count_drop(DropReason::UnknownPeer, 1),
                }
            }
        }
        None
    }

    /// Leaves a datagram with the worker whose peer it is from.
    fn post(&mut self, worker: usize, datagram: &[u8], origin: &Origin) {
        let mail = Mail::Datagram {
            bytes: datagram.to_vec(),
            origin: *origin,
        };
        if !self.shared.inboxes[worker].post(mail) {
            self.shard.count_drop(DropReason::QueueFull, 1);
        }
    }
}

/// What reading the interface brought.
enum Read {
    Packet(Offload, usize),
    /// What can't be understood.
    Malformed,
    Nothing,
    /// The interface is down.
    Down,
}

/// Writes what was decrypted to the interface; returns how many packets it refused.
fn write(queue: &Queue, coalescer: &mut Coalescer, buffer: &mut [u8]) -> u64 {
    let mut refused = 0;
    let items = coalescer.finish(buffer);
    let buffer = &*buffer;
    for item in items {
        let mut slices = [IoSlice::new(&[]); JOIN_MAX];
        for (slice, part) in slices.iter_mut().zip(item.parts) {
            *slice = IoSlice::new(&buffer[part.clone()]);
        }
        if let Err(error) = queue.write(&item.offload, &slices[..item.parts.len()]) {
            log::debug!("interface: {error}");
            refused += item.parts.len() as u64;
        }
    }
    refused
}

/// The way out.
impl Worker {
    /// Takes what the kernel sent to the interface, until there is no more or others should have a turn.
    fn transmit(&mut self, read: &mut [u8], sockets: &Sockets, now: Instant) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        if let Some(between) = shared.between.as_ref().filter(|between| !between.is_idle()) {
            self.read_for(between, read)?;
            self.read_mails(sockets, now);
            self.flush(sockets);
            return Ok(());
        }
        let roster = shared.roster();
        let mut shard = shared.shard(self.number);
        for _ in 0..READS {
            match self.read(read)? {
                Read::Packet(offload, len) => self.outgoing(&roster, &mut shard, &read[..len], &offload, sockets, now),
                Read::Malformed => shard.count_drop(DropReason::OutgoingMalformed, 1),
                Read::Nothing => break,
                Read::Down => {
                    drop((roster, shard));
                    std::thread::sleep(DOWN);
                    return Ok(());
                }
            }
            if self.send.len() >= SEND_BYTES {
                self.flush(sockets);
                break;
            }
        }
        drop((roster, shard));
        self.flush(sockets);
        Ok(())
    }

    /// Brings what the kernel sent to the interface to what stands in between.
    fn read_for(&mut self, between: &Between, read: &mut [u8]) -> io::Result<()> {
        let (mut bytes, mut malformed) = (0, 0);
        for _ in 0..READS {
            match self.read(read)? {
                Read::Packet(offload, len) => {
                    self.read.push((read[..len].to_vec(), offload));
                    bytes += len;
                }
                Read::Malformed => malformed += 1,
                Read::Nothing => break,
                Read::Down => {
                    std::thread::sleep(DOWN);
                    break;
                }
            }
            if bytes >= SEND_BYTES {
                break;
            }
        }
        if malformed > 0 {
            self.shared
                .shard(self.number)
                .count_drop(DropReason::OutgoingMalformed, malformed);
        }
        let mut session = between.session(&self.shared, Some(self.number));
        for (data, offload) in self.read.drain(..) {
            session.take_from_host(data, offload);
        }
        session.distribute();
        Ok(())
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Read> {
        let Some(queue) = &self.queue else {
            return Ok(Read::Nothing);
        };
        loop {
            return match queue.read(buffer) {
                Ok((offload, len)) => Ok(Read::Packet(offload, len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Read::Malformed),
                // A TUN that is down has nothing to read, and says so by an error.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(Read::Down),
                Err(error) => Err(error),
            };
        }
    }

    /// Encrypts a packet, or the packets that it stands for, to its peer; leaves another worker's with that one.
    fn outgoing(
        &mut self,
        roster: &Roster,
        shard: &mut Shard,
        packet: &[u8],
        offload: &Offload,
        sockets: &Sockets,
        now: Instant,
    ) {
        let Some(destination) = inner::destination(packet) else {
            shard.count_drop(DropReason::OutgoingMalformed, 1);
            return;
        };
        let Some(slot) = shard.route(roster.allowed_ips(), destination) else {
            shard.unreachable(packet, DropReason::NoPeerForDestination, now, &mut self.out);
            return;
        };
        if !shard.has(slot) {
            let mail = Mail::Packet {
                bytes: packet.to_vec(),
                offload: *offload,
            };
            if !self.shared.inboxes[self.shared.worker_of(slot)].post(mail) {
                shard.count_drop(DropReason::QueueFull, 1);
            }
            return;
        }
        let Ok(mut segments) = Segments::new(packet, offload) else {
            shard.count_drop(DropReason::OutgoingMalformed, 1);
            return;
        };
        if segments.max_len() > shard.mtu() {
            shard.too_big(packet, now, &mut self.out);
            return;
        }
        let mut sender = match shard.sender(slot, now, &mut self.out) {
            Ok(sender) => sender,
            Err(NoSender::NoSession) => {
                let mut segment = vec![0; segments.max_len()];
                while let Some(len) = segments.write_next(&mut segment) {
                    shard.stage(slot, &segment[..len]);
                }
                return;
            }
            Err(NoSender::Unreachable(reason)) => {
                shard.unreachable(packet, reason, now, &mut self.out);
                return;
            }
            Err(NoSender::Dropped(reason)) => {
                shard.count_drop(reason, 1);
                return;
            }
        };
        let tos = inner::outer_tos(packet);
        let room = sender.message_len(segments.max_len());
        let mut lost = 0;
        loop {
            if self.send.room(room).is_none() {
                self.flush(sockets);
            }
            let Some(message) = self.send.room(room) else { break };
            let Some(len) = segments.write_next(&mut message[DATA_HEADER..]) else {
                break;
            };
            match sender.seal(message, len) {
                Some(len) => self.send.commit(len, &sender.path, tos),
                None => lost += 1,
            }
        }
        if lost > 0 {
            shard.count_drop(DropReason::NoSession, lost);
        }
    }

    /// Sends what the protocol wants sent besides data.
    fn deliver(&mut self, sockets: &Sockets, now: Instant) {
        let out = std::mem::take(&mut self.out);
        let mut judged = false;
        for (destination, packet) in out.iter() {
            match destination {
                Destination::Network { path, tos } => {
                    self.unsent += self.send.add(packet, &path, tos, &sockets.workers[self.number]) as u64;
                }
                Destination::Interface => match (&self.shared.between, &self.queue) {
                    (Some(between), _) if between.judges() => {
                        let mut session = between.session(&self.shared, Some(self.number));
                        session.take_from_tunnel(packet.to_vec(), Offload::default());
                        session.distribute();
                        judged = true;
                    }
                    (_, Some(queue)) => {
                        let written = queue.write(&Offload::default(), &[IoSlice::new(packet)]);
                        self.refused += u64::from(written.is_err());
                    }
                    (_, None) => {}
                },
            }
        }
        self.out = out;
        self.out.clear();
        if judged {
            self.read_mails(sockets, now);
        }
        if !self.out.is_empty() {
            // A handshake that an error needs on its way. There are no errors about errors.
            self.deliver(sockets, now);
        }
        self.flush(sockets);
    }

    fn flush(&mut self, sockets: &Sockets) {
        self.send.show(&self.shared.tap, sockets.port);
        self.unsent += self.send.flush(&sockets.workers[self.number]) as u64;
    }
}
