//! A WireGuard device without sockets: datagrams and packets in, an [`Outbox`] of datagrams and packets out. Time and
//! randomness come in as arguments.
//!
//! A device is made of parts, so that several threads can run it: a [`Roster`] of keys and addresses, a [`Front`] that
//! takes handshake initiations, and [`Shard`]s that have the peers. [`Control`] configures them together, wherever they
//! are; [`Device`] is all of them in one place, for one thread.

use std::ops::DerefMut;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::aead::Aead;
use crate::allowed_ips::Slot;
use crate::config::{DeviceConfig, DeviceStatus, PeerChange, PeerPackets, PeerStatus};
use crate::drops::{DropReason, Drops};
use crate::front::Front;
use crate::inner;
use crate::key::{PrivateKey, PublicKey};
use crate::message::{DATA_HEADER, DATA_OVERHEAD, Message};
use crate::noise::StaticKeys;
use crate::outbox::{Destination, Origin, Outbox, Path};
use crate::peer::Peer;
use crate::roster::Roster;
use crate::shard::{Inner, NoSender, Shard};
use crate::uapi::{Report, SetDevice, SetPeer};

/// All parts of a device, to be configured and asked together.
pub struct Control<'a, S> {
    /// Keys and addresses.
    pub roster: &'a mut Roster,
    /// The guard.
    pub front: &'a mut Front,
    /// Every shard, in order.
    pub shards: &'a mut [S],
}

impl<S: DerefMut<Target = Shard>> Control<'_, S> {
    /// Makes the device exactly like `config`: peers that are in it keep their sessions.
    pub fn set(&mut self, config: &DeviceConfig, now: Instant, out: &mut Outbox) {
        let keep: std::collections::HashSet<PublicKey> = config.peers.iter().map(|peer| peer.public_key).collect();
        let gone: Vec<PublicKey> = self.roster.keys().filter(|key| !keep.contains(key)).collect();
        gone.iter().for_each(|key| self.remove_peer(key));
        let changes = SetDevice {
            replace_peers: false,
            ..SetDevice::from(config)
        };
        self.configure(&changes, now, out);
    }

    /// Changes the named peers and no others.
    pub fn apply(&mut self, changes: &[PeerChange], now: Instant, out: &mut Outbox) {
        for change in changes {
            match change {
                PeerChange::Set(config) => self.set_peer(&SetPeer::from(config), now, out),
                PeerChange::Remove(key) => self.remove_peer(key),
            }
        }
    }

    /// Does what `wg` asked for.
    pub fn configure(&mut self, changes: &SetDevice, now: Instant, out: &mut Outbox) {
        let SetDevice {
            private_key,
            listen_port,
            fwmark,
            replace_peers,
            peers,
        } = changes;
        if let Some(key) = private_key {
            self.set_private_key(key.as_ref(), now);
        }
        self.roster.listen_port = listen_port.unwrap_or(self.roster.listen_port);
        self.roster.fwmark = fwmark.unwrap_or(self.roster.fwmark);
        if *replace_peers {
            let keys: Vec<PublicKey> = self.roster.keys().collect();
            keys.iter().for_each(|key| self.remove_peer(key));
        }
        for peer in peers {
            self.set_peer(peer, now, out);
        }
    }

    /// Everything but secrets. `wall` is the time of day at `now`.
    pub fn status(&self, now: Instant, wall: SystemTime) -> DeviceStatus {
        let peers = self.peers();
        DeviceStatus {
            public_key: self.roster.own.as_ref().map(|own| *own.public()),
            listen_port: self.roster.listen_port,
            fwmark: self.roster.fwmark,
            peers: peers
                .map(|(peer, allowed_ips)| peer_status(peer, allowed_ips, now, wall))
                .collect(),
        }
    }

    /// Everything, secrets included.
    pub fn report(&self, now: Instant, wall: SystemTime) -> Report {
        Report {
            private_key: self.roster.own.as_ref().map(|own| own.private()),
            status: self.status(now, wall),
            preshared_keys: self.peers().map(|(peer, _)| peer.preshared_key.as_deref().cloned()).collect(),
        }
    }

    /// What all parts dropped, and why.
    pub fn drops(&self) -> Drops {
        let mut drops = self.front.drops().clone();
        self.shards.iter().for_each(|shard| drops.merge(shard.drops()));
        drops
    }

    fn peers(&self) -> impl Iterator<Item = (&Peer, &[ipnet::IpNet])> + '_ {
        let peers = self.roster.peers();
        peers.filter_map(|(slot, _, allowed_ips)| Some((self.shards[self.shard_of(slot)].peer(slot)?, allowed_ips)))
    }

    fn shard_of(&self, slot: Slot) -> usize {
        slot as usize % self.shards.len()
    }

    fn set_private_key(&mut self, key: Option<&PrivateKey>, now: Instant) {
        if key == self.roster.own.as_ref().map(|own| own.private()).as_ref() {
            return;
        }
        let own = key.map(|key| Arc::new(StaticKeys::new(key)));
        if let Some(own) = &own {
            // As other implementations do: a device is not its own peer.
            self.remove_peer(own.public());
        }
        self.front.set_own(own.clone(), now);
        for shard in self.shards.iter_mut() {
            shard.set_own(own.clone(), now);
        }
        self.roster.own = own;
    }

    fn set_peer(&mut self, change: &SetPeer, now: Instant, out: &mut Outbox) {
        let SetPeer {
            public_key,
            remove,
            update_only,
            preshared_key,
            endpoint,
            persistent_keepalive,
            replace_allowed_ips,
            allowed_ips,
        } = change;
        if *remove {
            return self.remove_peer(public_key);
        }
        let is_own = (self.roster.own.as_ref()).is_some_and(|own| *own.public() == *public_key);
        if is_own || (*update_only && self.roster.find(public_key).is_none()) {
            return;
        }
        let (slot, is_new) = self.roster.insert(*public_key);
        self.roster.change_allowed_ips(slot, *replace_allowed_ips, allowed_ips);
        let shard = self.shard_of(slot);
        let shard = &mut self.shards[shard];
        if is_new {
            shard.add(slot, Peer::new(*public_key));
        }
        let change = |peer: &mut Peer| {
            if let Some(key) = preshared_key {
                // Sessions that stand are not touched: the key is for the next handshake, as in the Linux driver.
                peer.preshared_key = key.clone().map(Box::new);
            }
            if let Some(endpoint) = endpoint
                && peer.path.map(|path| path.remote) != Some(*endpoint)
            {
                peer.path = Some(Path::from(*endpoint));
            }
            peer.keepalive = persistent_keepalive.unwrap_or(peer.keepalive);
        };
        shard.change(slot, change, now, out);
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        if let Some(slot) = self.roster.remove(key) {
            let shard = self.shard_of(slot);
            self.shards[shard].remove(slot);
        }
    }
}

fn peer_status(peer: &Peer, allowed_ips: &[ipnet::IpNet], now: Instant, wall: SystemTime) -> PeerStatus {
    let wall_at = |then| wall.checked_sub(now.saturating_duration_since(then));
    PeerStatus {
        public_key: peer.public_key,
        endpoint: peer.path.map(|path| path.remote),
        latest_handshake: peer.last_handshake.and_then(wall_at),
        rx_bytes: peer.received.bytes,
        tx_bytes: peer.sent.bytes,
        packets: Some(PeerPackets {
            rx: peer.received.packets,
            tx: peer.sent.packets,
        }),
        persistent_keepalive: (peer.keepalive > 0).then_some(peer.keepalive),
        allowed_ips: allowed_ips.to_vec(),
    }
}

/// A whole device for one thread.
pub struct Device {
    roster: Roster,
    front: Front,
    shard: Box<Shard>,
}

impl Device {
    /// A device without key and peers, for an interface of this MTU. `seed` is of good randomness and nobody else's;
    /// `wall` is the time of day at `now`.
    pub fn new(mtu: usize, aead: Box<dyn Aead>, seed: [u8; 32], now: Instant, wall: SystemTime) -> Self {
        // Two generators must not have one seed: the front's is drawn from the shard's.
        let mut random = crate::random::Random::new(seed);
        Self {
            roster: Roster::default(),
            front: Front::new(random.bytes()),
            shard: Box::new(Shard::new(0, 1, mtu, aead, random.bytes(), now, wall)),
        }
    }

    /// The parts, to be configured and asked.
    pub fn with_control<T>(&mut self, work: impl FnOnce(&mut Control<'_, &mut Shard>) -> T) -> T {
        work(&mut Control {
            roster: &mut self.roster,
            front: &mut self.front,
            shards: &mut [&mut *self.shard],
        })
    }

    /// Takes a datagram from the network and decrypts it where it stands. `tos` is the datagram's TOS octet.
    pub fn handle_udp(&mut self, datagram: &mut [u8], from: &Path, tos: u8, now: Instant, out: &mut Outbox) -> Option<Inner> {
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(reason) => {
                self.shard.count_drop(reason, 1);
                return None;
            }
        };
        match message {
            Message::Data { receiver, .. } => {
                let allowed_ips = self.roster.allowed_ips();
                let origin = Origin { path: *from, tos };
                let result = self.shard.handle_data(datagram, receiver, &origin, allowed_ips, now, out);
                return result.ok().flatten();
            }
            Message::Initiation(message) => {
                let claim = self.front.claim(message, from, now, out)?;
                match self.roster.find(&claim.peer) {
                    Some(slot) => self.shard.handle_initiation(slot, claim, from, now, out),
                    None => self.front.count_drop(DropReason::UnknownPeer, 1),
                }
            }
            Message::Response(message) => self.shard.handle_response(message, from, now, out),
            Message::CookieReply(message) => self.shard.handle_cookie(message, now),
        }
        None
    }

    /// Takes a packet from the interface.
    pub fn handle_tun(&mut self, packet: &[u8], now: Instant, out: &mut Outbox) {
        let Some(destination) = inner::destination(packet) else {
            return self.shard.count_drop(DropReason::OutgoingMalformed, 1);
        };
        let Some(slot) = self.shard.route(self.roster.allowed_ips(), destination) else {
            return self.shard.unreachable(packet, DropReason::NoPeerForDestination, now, out);
        };
        if packet.len() > self.shard.mtu() {
            return self.shard.too_big(packet, now, out);
        }
        match self.shard.sender(slot, now, out) {
            Ok(mut sender) => {
                let (path, tos) = (sender.path, inner::outer_tos(packet));
                let room = sender.message_len(packet.len());
                debug_assert!(room >= packet.len() + DATA_OVERHEAD);
                let sealed = out.push_with(room, Destination::Network { path, tos }, |message| {
                    message[DATA_HEADER..DATA_HEADER + packet.len()].copy_from_slice(packet);
                    sender.seal(message, packet.len())
                });
                if sealed.is_none() {
                    self.shard.count_drop(DropReason::NoSession, 1);
                }
            }
            Err(NoSender::NoSession) => self.shard.stage(slot, packet),
            Err(NoSender::Unreachable(reason)) => self.shard.unreachable(packet, reason, now, out),
            Err(NoSender::Dropped(reason)) => self.shard.count_drop(reason, 1),
        }
    }

    /// When [`Device::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shard.poll_timeout()
    }

    /// Does what is due. `wall` is the time of day at `now`.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime, out: &mut Outbox) {
        self.shard.handle_timeout(now, wall, out);
    }

    /// Tells the device its interface's MTU.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.shard.set_mtu(mtu);
    }
}
