//! A WireGuard device without sockets: datagrams and packets in, an [`Outbox`] of datagrams and packets out.
//!
//! Time comes in as an argument. The protocol core below ([`crate::tunnel`]) still reads the clock itself; that is
//! the one place, to be replaced.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use crate::allowed_ips::{AllowedIps, Slot};
use crate::config::{DeviceConfig, DeviceStatus, PeerChange, PeerStatus};
use crate::drops::{DropReason, Drops};
use crate::key::{PrivateKey, PublicKey};
use crate::outbox::{Destination, Outbox, Path};
use crate::peer::Peer;
use crate::tunnel::{Checked, DATA_OVERHEAD, Identity, Kind, LARGEST_HANDSHAKE, Opened, Tick, Tunnel};
use crate::uapi::{AllowedIpChange, Report, SetDevice, SetPeer};

/// Room that [`Device::handle_tun`] needs behind a packet, to pad it.
pub const PADDING_ROOM: usize = 15;

/// Packets that wait for handshakes, over all peers: about 24 MB of full-sized ones.
const STAGED_MAX: usize = 16_384;

/// A device: its key, its peers, and what was dropped.
pub struct Device {
    identity: Option<Identity>,
    /// Packets are never padded beyond this (WireGuard's Linux driver does the same: the datagram must fit the path).
    mtu: usize,
    listen_port: u16,
    fwmark: u32,
    peers: Vec<Option<Peer>>,
    free: Vec<Slot>,
    by_key: HashMap<PublicKey, Slot>,
    allowed_ips: AllowedIps,
    /// Peers with something to wait for.
    ticking: Vec<Slot>,
    staged: usize,
    drops: Drops,
}

impl Device {
    /// A device without key and peers, for an interface of this MTU.
    pub fn new(mtu: usize) -> Self {
        Self {
            identity: None,
            mtu,
            listen_port: 0,
            fwmark: 0,
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            allowed_ips: AllowedIps::new(),
            ticking: Vec::new(),
            staged: 0,
            drops: Drops::default(),
        }
    }

    /// Takes a datagram from the network.
    pub fn handle_udp(&mut self, datagram: &[u8], from: Path, now: Instant, out: &mut Outbox) {
        if let Err(reason) = self.udp(datagram, from, now, out) {
            self.drops.count(reason);
        }
    }

    /// Takes the packet in `buffer[..len]` from the interface. The buffer has room for [`PADDING_ROOM`] bytes more,
    /// which are overwritten.
    pub fn handle_tun(&mut self, buffer: &mut [u8], len: usize, now: Instant, out: &mut Outbox) {
        if let Err(reason) = self.tun(buffer, len, now, out) {
            self.drops.count(reason);
        }
    }

    /// Does what is due. To be called about four times a second.
    pub fn poll_timers(&mut self, now: Instant, out: &mut Outbox) {
        let Some(identity) = &self.identity else { return };
        identity.tick();
        let mut at = 0;
        while at < self.ticking.len() {
            let slot = self.ticking[at];
            if self.tick_peer(slot, now, out) {
                at += 1;
            } else {
                // The last one takes this place, and is next.
                self.stop_ticking(slot);
            }
        }
    }

    /// Makes the device exactly like `config`: peers that are in it keep their sessions.
    pub fn set(&mut self, config: &DeviceConfig, now: Instant, out: &mut Outbox) {
        let keep: std::collections::HashSet<PublicKey> = config.peers.iter().map(|peer| peer.public_key).collect();
        let gone: Vec<PublicKey> = self.by_key.keys().filter(|key| !keep.contains(*key)).copied().collect();
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
            self.set_private_key(key.as_ref());
        }
        self.listen_port = listen_port.unwrap_or(self.listen_port);
        self.fwmark = fwmark.unwrap_or(self.fwmark);
        if *replace_peers {
            let keys: Vec<PublicKey> = self.by_key.keys().copied().collect();
            keys.iter().for_each(|key| self.remove_peer(key));
        }
        for peer in peers {
            self.set_peer(peer, now, out);
        }
    }

    /// Tells the device which port its sockets have.
    pub fn set_listen_port(&mut self, port: u16) {
        self.listen_port = port;
    }

    /// Tells the device its interface's MTU.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }

    /// The port as last told.
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// The mark as last told.
    pub fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Everything but secrets. `wall` is the time of day at `now`.
    pub fn status(&self, now: Instant, wall: SystemTime) -> DeviceStatus {
        DeviceStatus {
            public_key: self.identity.as_ref().map(|identity| identity.public_key),
            listen_port: self.listen_port,
            fwmark: self.fwmark,
            peers: self.peers.iter().flatten().map(|peer| peer_status(peer, now, wall)).collect(),
        }
    }

    /// Everything, secrets included.
    pub fn report(&self, now: Instant, wall: SystemTime) -> Report {
        let peers = self.peers.iter().flatten();
        Report {
            private_key: self.identity.as_ref().map(|identity| identity.private_key.clone()),
            status: self.status(now, wall),
            preshared_keys: peers.map(|peer| peer.preshared_key.as_deref().cloned()).collect(),
        }
    }

    /// What was dropped, and why.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Counts packets that were lost outside: [`DropReason::SendFailed`], [`DropReason::InterfaceRefused`].
    pub fn count_drop(&mut self, reason: DropReason, packets: u64) {
        self.drops.add(reason, packets);
    }
}

/// The way in: datagrams.
impl Device {
    fn udp(&mut self, datagram: &[u8], from: Path, now: Instant, out: &mut Outbox) -> Result<(), DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let checked = identity.check(datagram, from.remote.ip(), out.space(LARGEST_HANDSHAKE))?;
        match checked {
            Checked::Cookie(len) => {
                out.commit(len, Destination::Network(from));
                Err(DropReason::UnderLoad)
            }
            Checked::Initiation(key) => {
                let slot = *self.by_key.get(&key).ok_or(DropReason::UnknownPeer)?;
                self.initiation(slot, datagram, from, now, out)
            }
            Checked::Indexed(index, kind) => self.indexed(index >> 8, datagram, kind, from, now, out),
        }
    }

    /// A peer begins a handshake. Its address is believed for this answer only: an initiation may be a replay from
    /// elsewhere, so the peer has moved when it proves to have the session's keys.
    fn initiation(&mut self, slot: Slot, datagram: &[u8], from: Path, now: Instant, out: &mut Outbox) -> Result<(), DropReason> {
        let was_new = self.peers[slot as usize].as_ref().is_some_and(|peer| peer.tunnel.is_none());
        self.wake(slot, out);
        let peer = self.peers[slot as usize].as_mut().ok_or(DropReason::UnknownPeer)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::NoPrivateKey)?;
        match tunnel.open(datagram, None, out.space(LARGEST_HANDSHAKE)) {
            Ok(Opened::Response(len)) => {
                peer.received += datagram.len() as u64;
                peer.sent += len as u64;
                peer.last_passed = Some(now);
                out.commit(len, Destination::Network(from));
                Ok(())
            }
            Ok(_) => Err(DropReason::Unexpected),
            Err(reason) => {
                // Whoever knows two public keys can come this far: leave no memory behind for it.
                if was_new {
                    peer.tunnel = None;
                }
                Err(reason)
            }
        }
    }

    fn indexed(
        &mut self,
        slot: Slot,
        datagram: &[u8],
        kind: Kind,
        from: Path,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), DropReason> {
        let peer = self
            .peers
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
            .ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::NoSession)?;
        let output = out.space(datagram.len().max(LARGEST_HANDSHAKE));
        let opened = tunnel.open(datagram, Some(kind), output)?;
        if opened == Opened::Cookie {
            // A cookie proves nothing about where the peer is.
            return Ok(());
        }
        peer.received += datagram.len() as u64;
        peer.last_passed = Some(now);
        if peer.path != Some(from) {
            peer.path = Some(from);
        }
        let begun = match opened {
            Opened::Established(len) => {
                peer.sent += len as u64;
                out.commit(len, Destination::Network(from));
                true
            }
            Opened::Keepalive { confirmed } => confirmed,
            Opened::Packet { len, source, confirmed } => {
                if self.allowed_ips.lookup(source) == Some(slot) {
                    out.commit(len, Destination::Interface);
                } else {
                    self.drops.count(DropReason::SourceNotAllowed);
                }
                confirmed
            }
            Opened::Response(_) | Opened::Cookie => return Err(DropReason::Unexpected),
        };
        if begun {
            peer.last_handshake = Some(now);
            self.flush(slot, out);
        }
        Ok(())
    }

    /// Sends what waited for a session.
    fn flush(&mut self, slot: Slot, out: &mut Outbox) {
        let Some(peer) = &mut self.peers[slot as usize] else { return };
        let (Some(tunnel), Some(path)) = (&mut peer.tunnel, peer.path) else {
            return;
        };
        let staged = tunnel.take_staged();
        self.staged -= staged.len();
        for packet in staged {
            match tunnel.seal(&packet, out.space(packet.len() + LARGEST_HANDSHAKE)) {
                Some(len) => {
                    peer.sent += len as u64;
                    out.commit(len, Destination::Network(path));
                }
                None => self.drops.count(DropReason::NoSession),
            }
        }
    }
}

/// The way out: packets and timers.
impl Device {
    fn tun(&mut self, buffer: &mut [u8], len: usize, now: Instant, out: &mut Outbox) -> Result<(), DropReason> {
        let destination = destination(&buffer[..len]).ok_or(DropReason::OutgoingMalformed)?;
        let slot = self.allowed_ips.lookup(destination).ok_or(DropReason::NoPeerForDestination)?;
        let peer = self.peers[slot as usize].as_ref().ok_or(DropReason::NoPeerForDestination)?;
        let path = peer.path.ok_or(DropReason::NoEndpoint)?;
        if peer.tunnel.is_none() || peer.ticking.is_none() {
            self.wake(slot, out);
        }
        // WireGuard paper, section 5.4.6: the packet is padded with zeros to a multiple of 16, not beyond the MTU.
        let padded = len.next_multiple_of(16).min(self.mtu.max(len)).min(buffer.len());
        buffer[len..padded].fill(0);
        let packet = &buffer[..padded];
        let peer = self.peers[slot as usize].as_mut().ok_or(DropReason::NoPeerForDestination)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::NoPrivateKey)?;
        let room = (padded + DATA_OVERHEAD).max(LARGEST_HANDSHAKE);
        if let Some(sealed) = tunnel.seal(packet, out.space(room)) {
            peer.sent += sealed as u64;
            peer.last_passed = Some(now);
            out.commit(sealed, Destination::Network(path));
            return Ok(());
        }
        if let Some(initiation) = tunnel.initiate(out.space(room)) {
            peer.sent += initiation as u64;
            out.commit(initiation, Destination::Network(path));
        }
        if self.staged >= STAGED_MAX || !tunnel.stage(packet) {
            return Err(DropReason::QueueFull);
        }
        self.staged += 1;
        Ok(())
    }

    /// Makes the peer's tunnel ready and its timers run. Nothing to do for a peer that is in use.
    fn wake(&mut self, slot: Slot, out: &mut Outbox) {
        let (Some(identity), Some(peer)) = (&self.identity, &mut self.peers[slot as usize]) else {
            return;
        };
        let tunnel = peer.tunnel.get_or_insert_with(|| {
            let preshared = peer.preshared_key.as_deref();
            Box::new(Tunnel::new(identity, peer.public_key, preshared, slot))
        });
        if peer.ticking.is_none() {
            // The core's clock stands still without ticks. What a resting tunnel has to say is old.
            tunnel.tick(out.space(LARGEST_HANDSHAKE));
            self.start_ticking(slot);
        }
    }

    fn start_ticking(&mut self, slot: Slot) {
        let Some(peer) = &mut self.peers[slot as usize] else { return };
        if peer.ticking.is_none() {
            peer.ticking = Some(self.ticking.len() as u32);
            self.ticking.push(slot);
        }
    }

    fn stop_ticking(&mut self, slot: Slot) {
        let Some(at) = self.peers[slot as usize].as_mut().and_then(|peer| peer.ticking.take()) else {
            return;
        };
        self.ticking.swap_remove(at as usize);
        if let Some(moved) = self.ticking.get(at as usize)
            && let Some(moved) = &mut self.peers[*moved as usize]
        {
            moved.ticking = Some(at);
        }
    }

    /// Does what is due for one peer; false when it needs no more ticks.
    fn tick_peer(&mut self, slot: Slot, now: Instant, out: &mut Outbox) -> bool {
        let Some(peer) = &mut self.peers[slot as usize] else {
            return false;
        };
        let Some(tunnel) = &mut peer.tunnel else {
            if peer.keepalive == 0 {
                return false;
            }
            self.keep_alive(slot, now, out);
            return true;
        };
        match tunnel.tick(out.space(LARGEST_HANDSHAKE)) {
            Tick::Nothing => {}
            Tick::Send(len) => {
                if let Some(path) = peer.path {
                    peer.sent += len as u64;
                    out.commit(len, Destination::Network(path));
                }
            }
            Tick::Expired => {
                let lost = tunnel.take_staged().len();
                self.staged -= lost;
                self.drops.add(DropReason::HandshakeTimedOut, lost as u64);
                if peer.keepalive == 0 {
                    return false;
                }
            }
        }
        self.keep_alive(slot, now, out);
        true
    }

    /// Sends a persistent keepalive when one is due, or begins the handshake that it needs.
    fn keep_alive(&mut self, slot: Slot, now: Instant, out: &mut Outbox) {
        let due = self.peers[slot as usize].as_ref().is_some_and(|peer| peer.keepalive_due(now));
        if !due {
            return;
        }
        self.wake(slot, out);
        let Some(peer) = &mut self.peers[slot as usize] else { return };
        let (Some(tunnel), Some(path)) = (&mut peer.tunnel, peer.path) else {
            return;
        };
        peer.last_passed = Some(now);
        let output = out.space(LARGEST_HANDSHAKE);
        let message = if tunnel.has_session() {
            tunnel.seal(&[], output)
        } else {
            tunnel.initiate(output)
        };
        if let Some(len) = message {
            peer.sent += len as u64;
            out.commit(len, Destination::Network(path));
        }
    }
}

/// Configuration.
impl Device {
    /// Sessions made with another key end: no peer would accept their renewal.
    fn set_private_key(&mut self, key: Option<&PrivateKey>) {
        if key == self.identity.as_ref().map(|identity| &identity.private_key) {
            return;
        }
        self.identity = key.map(|key| Identity::new(key.clone()));
        for slot in 0..self.peers.len() as Slot {
            self.end_tunnel(slot);
        }
        if let Some(own) = self.identity.as_ref().map(|identity| identity.public_key) {
            // As other implementations do: a device is not its own peer.
            self.remove_peer(&own);
        }
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
        let is_own = self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.public_key == *public_key);
        if is_own || (*update_only && !self.by_key.contains_key(public_key)) {
            return;
        }
        let slot = self.slot_of(*public_key);
        if let Some(preshared_key) = preshared_key {
            self.set_preshared_key(slot, preshared_key.as_ref());
        }
        if let Some(peer) = &mut self.peers[slot as usize] {
            if let Some(endpoint) = endpoint
                && peer.path.map(|path| path.remote) != Some(*endpoint)
            {
                peer.path = Some(Path::from(*endpoint));
            }
            if let Some(seconds) = persistent_keepalive {
                // Switched on: the first one goes out at once, as the Linux driver does.
                if peer.keepalive == 0 && *seconds > 0 {
                    peer.last_passed = None;
                }
                peer.keepalive = *seconds;
            }
            if peer.keepalive > 0 {
                self.start_ticking(slot);
            }
        }
        self.set_allowed_ips(slot, *replace_allowed_ips, allowed_ips);
        if self.identity.is_some() {
            self.keep_alive(slot, now, out);
        }
    }

    fn slot_of(&mut self, key: PublicKey) -> Slot {
        if let Some(slot) = self.by_key.get(&key) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            (self.peers.len() - 1) as Slot
        });
        self.peers[slot as usize] = Some(Peer::new(key));
        self.by_key.insert(key, slot);
        slot
    }

    fn set_preshared_key(&mut self, slot: Slot, key: Option<&crate::key::PresharedKey>) {
        let Some(peer) = &mut self.peers[slot as usize] else { return };
        if peer.preshared_key.as_deref() == key {
            return;
        }
        peer.preshared_key = key.cloned().map(Box::new);
        // The core takes the key at construction only, so the session ends too.
        self.end_tunnel(slot);
    }

    fn set_allowed_ips(&mut self, slot: Slot, replace: bool, changes: &[AllowedIpChange]) {
        if replace && let Some(peer) = &mut self.peers[slot as usize] {
            for net in peer.take_allowed_ips() {
                self.allowed_ips.remove(net);
            }
        }
        for change in changes {
            match change {
                AllowedIpChange::Add(net) => {
                    let net = net.trunc();
                    let before = self.allowed_ips.insert(net, slot).filter(|before| *before != slot);
                    if let Some(other) = before.and_then(|before| self.peers[before as usize].as_mut()) {
                        other.disallow(&net);
                    }
                    if let Some(peer) = &mut self.peers[slot as usize] {
                        peer.allow(net);
                    }
                }
                AllowedIpChange::Remove(net) => {
                    let net = net.trunc();
                    if self.peers[slot as usize].as_mut().is_some_and(|peer| peer.disallow(&net)) {
                        self.allowed_ips.remove(net);
                    }
                }
            }
        }
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        let Some(slot) = self.by_key.remove(key) else { return };
        self.end_tunnel(slot);
        self.stop_ticking(slot);
        let Some(peer) = self.peers[slot as usize].take() else {
            return;
        };
        for net in peer.allowed_ips() {
            self.allowed_ips.remove(*net);
        }
        self.free.push(slot);
    }

    fn end_tunnel(&mut self, slot: Slot) {
        if let Some(tunnel) = self.peers[slot as usize].as_mut().and_then(|peer| peer.tunnel.take()) {
            self.staged -= tunnel.staged_len();
        }
    }
}

fn peer_status(peer: &Peer, now: Instant, wall: SystemTime) -> PeerStatus {
    let wall_at = |then| wall.checked_sub(now.saturating_duration_since(then));
    PeerStatus {
        public_key: peer.public_key,
        endpoint: peer.path.map(|path| path.remote),
        latest_handshake: peer.last_handshake.and_then(wall_at),
        rx_bytes: peer.received,
        tx_bytes: peer.sent,
        persistent_keepalive: (peer.keepalive > 0).then_some(peer.keepalive),
        allowed_ips: peer.allowed_ips().to_vec(),
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(IpAddr::from(<[u8; 4]>::try_from(&packet[16..20]).ok()?)),
        6 if packet.len() >= 40 => Some(IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).ok()?)),
        _ => None,
    }
}
