//! Some of a device's peers, those of one worker: their tunnels, timers and counters.
//!
//! A shard is told what arrived and when; what it wants sent besides data goes to an [`Outbox`]. Data is encrypted and
//! decrypted where it stands.

mod usage;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::aead::Aead;
use crate::allowed_ips::{AllowedIps, Recent, Slot};
use crate::cookie::{Checker, Macs};
use crate::drops::{DropReason, Drops};
use crate::inner::{self, Unreachable};
use crate::limits::{INITIATIONS_PER_SECOND, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER};
use crate::message::{COOKIE_REPLY, DATA_OVERHEAD, INITIATION, Message, RESPONSE};
use crate::noise::{Claim, StaticKeys, create_initiation, static_static};
use crate::outbox::{Destination, Origin, Outbox, Path};
use crate::peer::{Peer, Traffic};
use crate::random::Random;
use crate::session::Session;
use crate::tai64n::Tai64n;
use crate::timers::Due;
use crate::tunnel::{Retired, STAGED_MAX, Tunnel, interval};

pub use usage::Usage;

/// Handshakes go out in a hurry: DSCP AF41, no ECN (`HANDSHAKE_DSCP` in the Linux driver's `messages.h`).
const HANDSHAKE_TOS: u8 = 0x88;

/// Packets that wait for handshakes, over all peers of a shard: about 24 MB of full-sized ones.
const ALL_STAGED_MAX: usize = 16_384;

/// A peer's initiations are looked at no closer together.
const INITIATION_INTERVAL: Duration = Duration::from_millis(1000 / INITIATIONS_PER_SECOND as u64);

/// Initiations without an answer, after which there are no more (`MAX_TIMER_HANDSHAKES`).
const MAX_HANDSHAKES: u32 = (REKEY_ATTEMPT_TIME.as_secs() / REKEY_TIMEOUT.as_secs()) as u32;

/// Peers whose timers are looked at in one call: each may begin a handshake, which takes a tenth of a millisecond.
const TIMER_BUDGET: usize = 64;

/// ICMP errors: so many at once, and then one per interval (Linux: `icmp_msgs_burst`, `icmp_msgs_per_sec`).
const ERROR_BURST: u32 = 50;
const ERROR_INTERVAL: Duration = Duration::from_millis(1);

/// What every receiver index of a shard ends with, so that datagrams find it: the number of its worker.
pub type Worker = u8;

/// The peers of one worker.
pub struct Shard {
    peers: Vec<Option<Box<Peer>>>,
    /// How many shards the device has: the peer of slot `s` is in shard `s % shards`, at place `s / shards`.
    shards: u32,
    cx: Context,
}

/// What a shard's peers have in common.
struct Context {
    worker: Worker,
    own: Option<Arc<StaticKeys>>,
    /// Knows what a handshake message for our key looks like.
    checker: Option<Checker>,
    aead: Box<dyn Aead>,
    random: Random,
    /// Whose our session numbers are.
    indexes: HashMap<u32, Slot, BuildHasherDefault<Unhashed>>,
    /// When to look at whose timers: one entry of each tunnel that has one armed.
    wakes: BTreeSet<(Instant, Slot)>,
    /// The time of day at some moment.
    wall: (Instant, SystemTime),
    last_timestamp: Tai64n,
    /// Packets are never padded beyond this (the Linux driver does the same: the datagram must fit the path).
    mtu: usize,
    staged: usize,
    recent: Recent,
    errors: (u32, Instant),
    drops: Drops,
}

/// Session numbers are random already.
#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u32(&mut self, index: u32) {
        // The table looks at both ends of the hash; the low byte of an index is the same for all.
        self.0 = u64::from(index) << 32 | u64::from(index >> 8);
    }
}

/// A decrypted packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    /// Where it stands in the datagram.
    pub range: Range<usize>,
    /// Who sent it.
    pub peer: Slot,
}

/// Why [`Shard::sender`] has nothing to send with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSender {
    /// A handshake is under way: the packet may be left with [`Shard::stage`].
    NoSession,
    /// The packet is lost, and its sender may be told ([`Shard::unreachable`]).
    Unreachable(DropReason),
    /// The packet is lost.
    Dropped(DropReason),
}

/// Encrypts packets to one peer.
pub struct Sender<'a> {
    session: &'a mut Session,
    aead: &'a mut dyn Aead,
    sent: &'a mut Traffic,
    mtu: usize,
    /// Where the datagrams go.
    pub path: Path,
}

impl Sender<'_> {
    /// How many bytes the message of a packet of `len` bytes has.
    pub fn message_len(&self, len: usize) -> usize {
        padded(len, self.mtu) + DATA_OVERHEAD
    }

    /// Encrypts the packet in `message[16..16 + len]` where it stands; returns the length of the message, or `None` when
    /// the session has sent all it may. The buffer has room for [`Sender::message_len`] bytes.
    pub fn seal(&mut self, message: &mut [u8], len: usize) -> Option<usize> {
        let padded = padded(len, self.mtu);
        message[16 + len..16 + padded].fill(0);
        let sealed = self.session.seal(self.aead, message, padded)?;
        self.sent.add_packet(sealed);
        Some(sealed)
    }
}

/// WireGuard paper, section 5.4.6: padded with zeros to a multiple of 16, not beyond the MTU.
fn padded(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(16).min(mtu.max(len))
}

/// Setting up.
impl Shard {
    /// A shard without peers. `worker` is its number among `shards`.
    pub fn new(
        worker: Worker,
        shards: u32,
        mtu: usize,
        aead: Box<dyn Aead>,
        seed: [u8; 32],
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        Self {
            peers: Vec::new(),
            shards: shards.max(1),
            cx: Context {
                worker,
                own: None,
                checker: None,
                aead,
                random: Random::new(seed),
                indexes: HashMap::default(),
                wakes: BTreeSet::new(),
                wall: (now, wall),
                last_timestamp: Tai64n::ZERO,
                mtu,
                staged: 0,
                recent: Recent::default(),
                errors: (ERROR_BURST, now),
                drops: Drops::default(),
            },
        }
    }

    /// Tells the shard its interface's MTU.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.cx.mtu = mtu;
    }

    /// What was dropped, and why.
    pub fn drops(&self) -> &Drops {
        &self.cx.drops
    }

    /// Counts packets that were lost outside: [`DropReason::SendFailed`], [`DropReason::InterfaceRefused`].
    pub fn count_drop(&mut self, reason: DropReason, packets: u64) {
        self.cx.drops.add(reason, packets);
    }

    /// Whether the peer of this slot is here.
    pub fn has(&self, slot: Slot) -> bool {
        slot % self.shards == u32::from(self.cx.worker)
    }

    /// `None` for a peer of another shard: its place here is somebody else's.
    fn place(&self, slot: Slot) -> Option<usize> {
        self.has(slot).then_some((slot / self.shards) as usize)
    }

    pub(crate) fn peer(&self, slot: Slot) -> Option<&Peer> {
        self.peers.get(self.place(slot)?)?.as_deref()
    }

    /// The peer and what it works with; they are borrowed apart.
    fn split(&mut self, slot: Slot) -> Option<(&mut Peer, &mut Context)> {
        let place = self.place(slot)?;
        Some((self.peers.get_mut(place)?.as_deref_mut()?, &mut self.cx))
    }

    /// The device's new key. Sessions made with another key end: no peer would accept their renewal.
    pub(crate) fn set_own(&mut self, own: Option<Arc<StaticKeys>>, now: Instant) {
        self.cx.checker = own.as_ref().map(|own| Checker::new(own.public()));
        self.cx.own = own;
        for place in 0..self.peers.len() {
            let slot = place as Slot * self.shards + u32::from(self.cx.worker);
            if let Some((peer, cx)) = self.split(slot) {
                cx.end_tunnel(slot, peer);
                if peer.keepalive > 0 && cx.wake(peer).is_ok() {
                    cx.arm_persistent(slot, peer, now);
                }
            }
        }
    }

    pub(crate) fn add(&mut self, slot: Slot, peer: Peer) {
        let Some(place) = self.place(slot) else { return };
        if self.peers.len() <= place {
            self.peers.resize_with(place + 1, || None);
        }
        self.peers[place] = Some(Box::new(peer));
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        let place = self.place(slot);
        if let Some(mut peer) = place.and_then(|place| self.peers.get_mut(place)).and_then(Option::take) {
            self.cx.end_tunnel(slot, &mut peer);
        }
    }

    /// Changes the peer and does what follows from the change: a keepalive that was switched on goes out at once.
    pub(crate) fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Peer), now: Instant, out: &mut Outbox) {
        let Some((peer, cx)) = self.split(slot) else { return };
        let before = peer.keepalive;
        change(peer);
        if peer.keepalive == 0 {
            if let Some(tunnel) = &mut peer.tunnel {
                tunnel.timers.set_persistent(None);
            }
            return;
        }
        if cx.own.is_none() || cx.wake(peer).is_err() {
            return;
        }
        if before == 0 {
            cx.keep_alive(slot, peer, now, out);
        } else if before != peer.keepalive {
            cx.arm_persistent(slot, peer, now);
        }
        cx.schedule(slot, peer);
    }
}

/// The way in.
impl Shard {
    /// Takes a data message and decrypts it where it stands. A keepalive has no packet in it.
    ///
    /// # Errors
    /// Why it was dropped, which is counted already.
    pub fn handle_data(
        &mut self,
        message: &mut [u8],
        receiver: u32,
        origin: &Origin,
        allowed_ips: &AllowedIps,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Option<Inner>, DropReason> {
        let result = self.data(message, receiver, origin, allowed_ips, now, out);
        if let Err(reason) = result {
            self.cx.drops.count(reason);
        }
        result
    }

    fn data(
        &mut self,
        message: &mut [u8],
        receiver: u32,
        origin: &Origin,
        allowed_ips: &AllowedIps,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Option<Inner>, DropReason> {
        let slot = *self.cx.indexes.get(&receiver).ok_or(DropReason::UnknownIndex)?;
        let (peer, cx) = self.split(slot).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_deref_mut().ok_or(DropReason::NoSession)?;
        let session = tunnel.receiving(receiver, now).ok_or(DropReason::NoSession)?;
        let range = session.open(&mut *cx.aead, message)?;
        peer.received.bytes += message.len() as u64;
        if peer.path.as_ref() != Some(&origin.path) {
            peer.path = Some(origin.path);
        }
        // Before anything is sent: that asks for an answer anew.
        tunnel.timers.received(now, interval(peer.keepalive));
        let begun = tunnel.used(receiver);
        if begun.is_none() && tunnel.is_stale_to_receive(now) {
            cx.initiate(slot, peer, false, now, out);
        }
        if let Some(retired) = begun {
            cx.retire([retired]);
            peer.last_handshake = Some(now);
            cx.flush(slot, peer, now, out);
        }
        if range.is_empty() {
            return Ok(None);
        }
        let tunnel = peer.tunnel.as_deref_mut().ok_or(DropReason::NoSession)?;
        if tunnel.timers.data_received(now) {
            cx.schedule(slot, peer);
        }
        let packet = &mut message[range.clone()];
        let (len, source) = inner::check(packet)?;
        if cx.recent.lookup(allowed_ips, source) != Some(slot) {
            return Err(DropReason::SourceNotAllowed);
        }
        peer.received.packets += 1;
        inner::decapsulate_ecn(packet, origin.tos);
        Ok(Some(Inner {
            range: range.start..range.start + len,
            peer: slot,
        }))
    }

    /// Takes the initiation of the peer of this slot, whose key `claim` tells. The peer's address is believed for this answer
    /// only: an initiation may be a replay from elsewhere, so the peer has moved when it proves to have the session's keys.
    pub fn handle_initiation(&mut self, slot: Slot, claim: Claim, from: &Path, now: Instant, out: &mut Outbox) {
        if let Err(reason) = self.initiation(slot, claim, from, now, out) {
            self.cx.drops.count(reason);
        }
    }

    fn initiation(&mut self, slot: Slot, claim: Claim, from: &Path, now: Instant, out: &mut Outbox) -> Result<(), DropReason> {
        let (peer, cx) = self.split(slot).ok_or(DropReason::UnknownPeer)?;
        // The slot may have got another owner since it was looked up.
        if claim.peer != peer.public_key {
            return Err(DropReason::UnknownPeer);
        }
        let own = cx.own.clone().ok_or(DropReason::NoPrivateKey)?;
        let shared = match &peer.tunnel {
            Some(tunnel) => tunnel.static_static.clone(),
            None => zeroize::Zeroizing::new(static_static(&own, &peer.public_key).ok_or(DropReason::NotAuthentic)?),
        };
        let initiation = claim.verify(&shared)?;
        if peer.newest_initiation.is_some_and(|newest| initiation.timestamp <= newest) {
            return Err(DropReason::ReplayedHandshake);
        }
        if (peer.last_initiation).is_some_and(|last| now.saturating_duration_since(last) < INITIATION_INTERVAL) {
            return Err(DropReason::RateLimited);
        }
        peer.newest_initiation = Some(initiation.timestamp);
        peer.last_initiation = Some(now);
        // Only now: whoever knows two public keys can come this far, and shall leave no memory behind.
        cx.wake(peer)?;
        let index = cx.new_index(slot);
        let preshared = peer.preshared_key.as_deref();
        let Some((mut response, keys)) = initiation.respond(preshared, index, &mut cx.random) else {
            cx.retire([Some(index)]);
            return Err(DropReason::NotAuthentic);
        };
        let tunnel = peer.tunnel.as_deref_mut().ok_or(DropReason::NoSession)?;
        tunnel.macs.sign(&mut response, now);
        cx.retire(tunnel.responded(keys, now));
        tunnel.timers.received(now, interval(peer.keepalive));
        tunnel.timers.sent(now, interval(peer.keepalive));
        peer.received.bytes += INITIATION as u64;
        if peer.path.is_none() {
            peer.path = Some(*from);
        }
        cx.push(peer, &response, *from, HANDSHAKE_TOS, out);
        cx.schedule(slot, peer);
        Ok(())
    }

    /// Takes a response. No cookie is asked for: it has to name a handshake that we began, and that one is read a few times at most.
    pub fn handle_response(&mut self, message: &[u8; RESPONSE], from: &Path, now: Instant, out: &mut Outbox) {
        if let Err(reason) = self.response(message, from, now, out) {
            self.cx.drops.count(reason);
        }
    }

    fn response(&mut self, message: &[u8; RESPONSE], from: &Path, now: Instant, out: &mut Outbox) -> Result<(), DropReason> {
        let receiver = Message::Response(message).receiver().ok_or(DropReason::Malformed)?;
        let slot = *self.cx.indexes.get(&receiver).ok_or(DropReason::UnknownIndex)?;
        if !self.cx.checker.as_ref().is_some_and(|checker| checker.mac1_is_valid(message)) {
            return Err(DropReason::BadMac);
        }
        let (peer, cx) = self.split(slot).ok_or(DropReason::UnknownIndex)?;
        let own = cx.own.clone().ok_or(DropReason::NoPrivateKey)?;
        let tunnel = peer.tunnel.as_deref_mut().ok_or(DropReason::NoSession)?;
        let initiator = tunnel.awaiting(receiver).ok_or(DropReason::Unexpected)?;
        let keys = match initiator.finish(&own, peer.preshared_key.as_deref(), message) {
            Ok(keys) => keys,
            Err(reason) => {
                tunnel.wrong_response();
                return Err(reason);
            }
        };
        cx.retire(tunnel.answered(keys, now));
        tunnel.timers.received(now, interval(peer.keepalive));
        peer.received.bytes += RESPONSE as u64;
        peer.last_handshake = Some(now);
        peer.path = Some(*from);
        // What waited, or an empty message: the peer can send from then on.
        let waited = peer.tunnel.as_ref().is_some_and(|tunnel| !tunnel.staged.is_empty());
        if waited {
            cx.flush(slot, peer, now, out);
        } else {
            cx.send_empty(peer, now, out);
        }
        cx.schedule(slot, peer);
        Ok(())
    }

    /// Takes a cookie for the handshake of this number. It proves nothing about where the peer is.
    pub fn handle_cookie(&mut self, message: &[u8; COOKIE_REPLY], now: Instant) {
        if let Err(reason) = self.cookie(message, now) {
            self.cx.drops.count(reason);
        }
    }

    fn cookie(&mut self, message: &[u8; COOKIE_REPLY], now: Instant) -> Result<(), DropReason> {
        let receiver = Message::CookieReply(message).receiver().ok_or(DropReason::Malformed)?;
        let slot = *self.cx.indexes.get(&receiver).ok_or(DropReason::UnknownIndex)?;
        let (peer, _) = self.split(slot).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_deref_mut().ok_or(DropReason::NoSession)?;
        tunnel.macs.read_reply(message, now)
    }
}

/// The way out.
impl Shard {
    /// Whose this destination is.
    pub fn route(&mut self, allowed_ips: &AllowedIps, destination: IpAddr) -> Option<Slot> {
        self.cx.recent.lookup(allowed_ips, destination)
    }

    /// What encrypts packets to the peer of this slot; begins the handshake that is needed or due.
    ///
    /// # Errors
    /// [`NoSender`] says what becomes of the packet. Nothing is counted yet.
    pub fn sender(&mut self, slot: Slot, now: Instant, out: &mut Outbox) -> Result<Sender<'_>, NoSender> {
        let gone = NoSender::Unreachable(DropReason::NoPeerForDestination);
        let (peer, cx) = self.split(slot).ok_or(gone)?;
        let path = peer.path.ok_or(NoSender::Unreachable(DropReason::NoEndpoint))?;
        cx.wake(peer).map_err(NoSender::Dropped)?;
        let keepalive = interval(peer.keepalive);
        let tunnel = peer.tunnel.as_deref_mut().ok_or(gone)?;
        if tunnel.sending(now).is_none() {
            cx.initiate(slot, peer, false, now, out);
            return Err(NoSender::NoSession);
        }
        if tunnel.is_stale_to_send(now) {
            cx.initiate(slot, peer, false, now, out);
        }
        let tunnel = peer.tunnel.as_deref_mut().ok_or(gone)?;
        tunnel.timers.sent(now, keepalive);
        let random = &mut cx.random;
        if tunnel.timers.data_sent(now, || jitter(random)) {
            cx.schedule(slot, peer);
        }
        let tunnel = peer.tunnel.as_deref_mut().ok_or(gone)?;
        Ok(Sender {
            session: tunnel.sending(now).ok_or(NoSender::NoSession)?,
            aead: &mut *cx.aead,
            sent: &mut peer.sent,
            mtu: cx.mtu,
            path,
        })
    }

    /// Keeps a packet until the peer's handshake is done. When too many wait, the oldest is lost.
    pub fn stage(&mut self, slot: Slot, packet: &[u8]) {
        let Some((peer, cx)) = self.split(slot) else { return };
        let Some(tunnel) = &mut peer.tunnel else { return };
        if tunnel.staged.len() >= STAGED_MAX || cx.staged >= ALL_STAGED_MAX {
            cx.drops.count(DropReason::QueueFull);
            if tunnel.staged.pop_front().is_none() {
                return;
            }
            cx.staged -= 1;
        }
        tunnel.staged.push_back(packet.to_vec());
        cx.staged += 1;
    }

    /// Counts a lost packet and tells its sender that the host is unreachable, if it may be told and few were lately.
    pub fn unreachable(&mut self, packet: &[u8], reason: DropReason, now: Instant, out: &mut Outbox) {
        self.cx.drops.count(reason);
        self.cx.send_error(packet, Unreachable::Host, now, out);
    }

    /// Counts a packet that is longer than the MTU and tells its sender the MTU (RFC 1191, RFC 8201).
    pub fn too_big(&mut self, packet: &[u8], now: Instant, out: &mut Outbox) {
        self.cx.drops.count(DropReason::PacketTooBig);
        self.cx.send_error(packet, Unreachable::TooBig(self.cx.mtu), now, out);
    }

    /// The MTU as last told.
    pub fn mtu(&self) -> usize {
        self.cx.mtu
    }
}

/// Time.
impl Shard {
    /// When [`Shard::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cx.wakes.first().map(|(at, _)| *at)
    }

    /// Does what is due, for a limited number of peers; what is left is due at once. `wall` is the time of day at `now`.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime, out: &mut Outbox) {
        self.cx.wall = (now, wall);
        for _ in 0..TIMER_BUDGET {
            let Some(&(_, slot)) = self.cx.wakes.first().filter(|(at, _)| *at <= now) else {
                return;
            };
            self.cx.wakes.pop_first();
            let Some((peer, cx)) = self.split(slot) else { continue };
            let Some(tunnel) = &mut peer.tunnel else { continue };
            tunnel.wake = None;
            while let Some(due) = peer.tunnel.as_mut().and_then(|tunnel| tunnel.timers.pop(now)) {
                cx.handle_due(slot, peer, due, now, out);
            }
            cx.schedule(slot, peer);
        }
    }
}

fn jitter(random: &mut Random) -> Duration {
    Duration::from_millis(random.u64() % (REKEY_TIMEOUT_JITTER.as_millis() as u64 + 1))
}

impl Context {
    /// Makes the peer's tunnel ready. Nothing to do for a peer that is in use.
    fn wake(&mut self, peer: &mut Peer) -> Result<(), DropReason> {
        if peer.tunnel.is_some() {
            return Ok(());
        }
        let own = self.own.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let shared = static_static(own, &peer.public_key).ok_or(DropReason::NotAuthentic)?;
        let tunnel = Tunnel::new(zeroize::Zeroizing::new(shared), Macs::new(&peer.public_key));
        peer.tunnel = Some(Box::new(tunnel));
        Ok(())
    }

    /// Forgets the peer's keys and what waited for them.
    fn end_tunnel(&mut self, slot: Slot, peer: &mut Peer) {
        let Some(mut tunnel) = peer.tunnel.take() else { return };
        let lost = tunnel.staged.len();
        self.staged -= lost;
        self.drops.add(DropReason::NoSession, lost as u64);
        if let Some(wake) = tunnel.wake {
            self.wakes.remove(&(wake, slot));
        }
        self.retire(tunnel.forget_sessions());
        self.retire([tunnel.forget_handshake()]);
    }

    fn retire(&mut self, indexes: impl IntoIterator<Item = Retired>) {
        for index in indexes.into_iter().flatten() {
            self.indexes.remove(&index);
        }
    }

    /// A number that no session of ours has.
    fn new_index(&mut self, slot: Slot) -> u32 {
        loop {
            let index = self.random.u32() & !0xff | u32::from(self.worker);
            if let std::collections::hash_map::Entry::Vacant(entry) = self.indexes.entry(index) {
                entry.insert(slot);
                return index;
            }
        }
    }

    /// Makes sure that the peer's timers are looked at in time.
    fn schedule(&mut self, slot: Slot, peer: &mut Peer) {
        let Some(tunnel) = &mut peer.tunnel else { return };
        let Some(next) = tunnel.timers.next() else { return };
        if tunnel.wake.is_none_or(|wake| next < wake) {
            if let Some(later) = tunnel.wake.replace(next) {
                self.wakes.remove(&(later, slot));
            }
            self.wakes.insert((next, slot));
        }
    }

    fn arm_persistent(&mut self, slot: Slot, peer: &mut Peer, now: Instant) {
        let interval = interval(peer.keepalive);
        if let Some(tunnel) = &mut peer.tunnel {
            tunnel.timers.set_persistent(interval.map(|interval| now + interval));
        }
        self.schedule(slot, peer);
    }

    fn push(&mut self, peer: &mut Peer, message: &[u8], path: Path, tos: u8, out: &mut Outbox) {
        peer.sent.bytes += message.len() as u64;
        out.push(message, Destination::Network { path, tos });
    }

    fn handle_due(&mut self, slot: Slot, peer: &mut Peer, due: Due, now: Instant, out: &mut Outbox) {
        let Some(tunnel) = &mut peer.tunnel else { return };
        match due {
            Due::Retransmit if tunnel.attempts >= MAX_HANDSHAKES => {
                let lost = std::mem::take(&mut tunnel.staged).len();
                self.staged -= lost;
                self.drops.add(DropReason::HandshakeTimedOut, lost as u64);
                tunnel.timers.gave_up(now);
                if peer.keepalive > 0 {
                    // The Linux driver waits for the next packet; its persistent keepalive is such a packet.
                    self.arm_persistent(slot, peer, now);
                }
            }
            Due::Retransmit => {
                tunnel.attempts += 1;
                // The way from our address may be what is broken (`wg_socket_clear_peer_endpoint_src`).
                forget_local(peer);
                self.initiate(slot, peer, true, now, out);
            }
            Due::NewHandshake => {
                forget_local(peer);
                self.initiate(slot, peer, false, now, out);
            }
            Due::Keepalive => {
                self.send_empty(peer, now, out);
                if let Some(tunnel) = &mut peer.tunnel {
                    tunnel.timers.keepalive_sent(now);
                }
            }
            Due::Persistent => self.keep_alive(slot, peer, now, out),
            Due::ZeroKeys => {
                let keys = tunnel.forget_sessions();
                let is_asking = tunnel.timers.is_asking();
                self.retire(keys);
                // A handshake that is under way ends by itself, and what waits for it goes on waiting.
                if !is_asking && peer.keepalive == 0 {
                    self.end_tunnel(slot, peer);
                }
            }
        }
    }

    /// Sends an empty message, or begins the handshake that it needs.
    fn keep_alive(&mut self, slot: Slot, peer: &mut Peer, now: Instant, out: &mut Outbox) {
        let Some(tunnel) = &mut peer.tunnel else { return };
        if tunnel.sending(now).is_some() {
            if tunnel.is_stale_to_send(now) {
                self.initiate(slot, peer, false, now, out);
            }
            self.send_empty(peer, now, out);
        } else {
            self.initiate(slot, peer, false, now, out);
            self.arm_persistent(slot, peer, now);
        }
    }

    /// Sends a message without a packet, where there is a session.
    fn send_empty(&mut self, peer: &mut Peer, now: Instant, out: &mut Outbox) {
        let (Some(tunnel), Some(path)) = (&mut peer.tunnel, peer.path) else {
            return;
        };
        let mut message = [0; DATA_OVERHEAD];
        let Some(session) = tunnel.sending(now) else { return };
        let Some(len) = session.seal(&mut *self.aead, &mut message, 0) else {
            return;
        };
        tunnel.timers.sent(now, interval(peer.keepalive));
        self.push(peer, &message[..len], path, 0, out);
    }

    /// Sends an initiation, unless one went out a moment ago. `retry`: nobody asked for it anew.
    fn initiate(&mut self, slot: Slot, peer: &mut Peer, retry: bool, now: Instant, out: &mut Outbox) {
        let (Some(own), Some(path), Some(tunnel)) = (self.own.clone(), peer.path, &mut peer.tunnel) else {
            return;
        };
        if !retry {
            tunnel.attempts = 0;
        }
        let recently = |last| now.saturating_duration_since(last) < REKEY_TIMEOUT;
        if tunnel.last_initiation.is_some_and(recently) {
            return;
        }
        tunnel.last_initiation = Some(now);
        let timestamp = self.timestamp(now);
        let index = self.new_index(slot);
        let begun = create_initiation(
            &own,
            &peer.public_key,
            &tunnel.static_static,
            timestamp,
            index,
            &mut self.random,
        );
        let Some((mut message, initiator)) = begun else {
            self.retire([Some(index)]);
            return;
        };
        let before = tunnel.begun(initiator, index);
        tunnel.macs.sign(&mut message, now);
        tunnel.timers.sent(now, interval(peer.keepalive));
        tunnel.timers.initiated(now, jitter(&mut self.random));
        self.retire([before]);
        self.push(peer, &message, path, HANDSHAKE_TOS, out);
        self.schedule(slot, peer);
    }

    /// The time of day, later than any that was told before.
    fn timestamp(&mut self, now: Instant) -> Tai64n {
        let (then, wall) = self.wall;
        let wall = wall + now.saturating_duration_since(then);
        self.last_timestamp = Tai64n::strictly_after(self.last_timestamp, wall);
        self.last_timestamp
    }

    /// Sends what waited for a session.
    fn flush(&mut self, slot: Slot, peer: &mut Peer, now: Instant, out: &mut Outbox) {
        let (Some(tunnel), Some(path)) = (&mut peer.tunnel, peer.path) else {
            return;
        };
        let staged = std::mem::take(&mut tunnel.staged);
        self.staged -= staged.len();
        for packet in &staged {
            let Some(session) = tunnel.sending(now) else {
                self.drops.count(DropReason::NoSession);
                continue;
            };
            let padded = padded(packet.len(), self.mtu);
            let tos = inner::outer_tos(packet);
            let aead = &mut *self.aead;
            let sealed = out.push_with(padded + DATA_OVERHEAD, Destination::Network { path, tos }, |message| {
                message[16..16 + packet.len()].copy_from_slice(packet);
                session.seal(aead, message, padded)
            });
            match sealed {
                Some(len) => peer.sent.add_packet(len),
                None => self.drops.count(DropReason::NoSession),
            }
        }
        if !staged.is_empty() {
            tunnel.timers.sent(now, interval(peer.keepalive));
            let random = &mut self.random;
            tunnel.timers.data_sent(now, || jitter(random));
        }
        self.schedule(slot, peer);
    }

    fn send_error(&mut self, packet: &[u8], why: Unreachable, now: Instant, out: &mut Outbox) {
        let (tokens, last) = &mut self.errors;
        let earned = now.saturating_duration_since(*last).as_nanos() / ERROR_INTERVAL.as_nanos();
        if earned > 0 {
            *tokens = tokens
                .saturating_add(u32::try_from(earned).unwrap_or(u32::MAX))
                .min(ERROR_BURST);
            *last = now;
        }
        if *tokens == 0 {
            return;
        }
        if let Some(error) = inner::icmp_error(packet, why) {
            *tokens -= 1;
            out.push(&error, Destination::Interface);
        }
    }
}

/// Lets the system choose the address to send from.
fn forget_local(peer: &mut Peer) {
    if let Some(path) = &mut peer.path {
        path.local = None;
    }
}
