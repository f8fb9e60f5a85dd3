//! A WireGuard device and what arrives at it: bytes, and messages of a peer that are whole, damaged, repeated, late or early,
//! while time passes and the administrator changes things.
//!
//! ```text
//!   device            peer                 a silent peer
//!   10.0.0.1          10.0.1.0/24          10.0.2.0/24
//!   fd00::1           fd01::/64            fd02::/64
//! ```

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use fielato_wireguard::aead::Ring;
use fielato_wireguard::message::Message;
use fielato_wireguard::{
    Destination, Device, DeviceConfig, Outbox, Path, PeerChange, PeerConfig, PresharedKey, PrivateKey, PublicKey,
};

use crate::source::Source;

const MTU: usize = 1420;
/// Most things done in one input.
const STEPS: usize = 96;
/// Messages that are kept for later.
const KEPT: usize = 64;
/// A tunnel works again so long after nothing is lost any more: 15 s until the loss is noticed, and a handshake's second try.
const RECOVERY: u64 = 21;

struct Keys {
    private: [PrivateKey; 3],
    public: [PublicKey; 3],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let private = [1, 2, 3].map(|number| PrivateKey([number * 8; 32]));
    Keys {
        public: private.each_ref().map(PrivateKey::public_key),
        private,
    }
});

const DEVICE: usize = 0;
const PEER: usize = 1;
const SILENT: usize = 2;

fn address(end: usize, v6: bool) -> SocketAddr {
    let ip = if v6 {
        IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, end as u16 + 1))
    } else {
        IpAddr::from(Ipv4Addr::new(192, 0, 2, end as u8 + 1))
    };
    SocketAddr::new(ip, 51820)
}

fn base(end: usize, v6: bool) -> PeerConfig {
    let allowed = match end {
        // The peer sends whatever it is told to.
        DEVICE => ["0.0.0.0/0".to_string(), "::/0".to_string()],
        _ => [format!("10.0.{end}.0/24"), format!("fd0{end}::/64")],
    };
    PeerConfig {
        public_key: KEYS.public[end],
        preshared_key: None,
        endpoint: Some(address(end, v6)),
        persistent_keepalive: None,
        allowed_ips: allowed.iter().map(|net| net.parse().expect("written above")).collect(),
    }
}

struct World {
    now: Instant,
    wall: SystemTime,
    v6: bool,
    ends: [Device; 2],
    /// Messages to each end, oldest first.
    under_way: [Vec<Vec<u8>>; 2],
    /// Messages that were delivered, to be repeated.
    seen: Vec<Vec<u8>>,
    /// How often the peer was given a packet and the device has not delivered it yet.
    sent: HashMap<Vec<u8>, u32>,
    delivered: u32,
}

impl World {
    fn new(v6: bool) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let mut world = Self {
            now,
            wall,
            v6,
            ends: [1, 2].map(|seed| Device::new(MTU, Box::new(Ring), [seed; 32], now, wall)),
            under_way: [vec![], vec![]],
            seen: vec![],
            sent: HashMap::new(),
            delivered: 0,
        };
        world.reset(DEVICE);
        world.reset(PEER);
        world
    }

    /// The end's configuration as it was at first.
    fn reset(&mut self, end: usize) {
        let others: &[usize] = if end == DEVICE { &[PEER, SILENT] } else { &[DEVICE] };
        let config = DeviceConfig {
            private_key: KEYS.private[end].clone(),
            listen_port: 51820,
            fwmark: 0,
            peers: others.iter().map(|other| base(*other, self.v6)).collect(),
        };
        let (now, mut out) = (self.now, Outbox::new());
        self.ends[end].with_control(|control| control.set(&config, now, &mut out));
        self.collect(end, &out);
    }

    fn apply(&mut self, change: PeerChange) {
        let (now, mut out) = (self.now, Outbox::new());
        self.ends[DEVICE].with_control(|control| control.apply(&[change], now, &mut out));
        self.collect(DEVICE, &out);
    }

    fn collect(&mut self, from: usize, out: &Outbox) {
        for (destination, bytes) in out.iter() {
            match destination {
                Destination::Network { path, .. } => {
                    assert!(Message::parse(bytes).is_ok(), "what is sent is a message");
                    let to = 1 - from;
                    if path.remote == address(to, self.v6) || path.remote.port() != 51820 {
                        self.under_way[to].push(bytes.to_vec());
                    }
                    if self.under_way[to].len() > KEPT {
                        self.under_way[to].remove(0);
                    }
                }
                Destination::Interface => assert!(matches!(bytes[0] >> 4, 4 | 6), "an ICMP error is a packet"),
            }
        }
    }

    fn tun(&mut self, end: usize, packet: &[u8]) {
        let mut out = Outbox::new();
        self.ends[end].handle_tun(packet, self.now, &mut out);
        if end == PEER {
            *self.sent.entry(packet.to_vec()).or_default() += 1;
        }
        self.collect(end, &out);
    }

    fn udp(&mut self, end: usize, from: SocketAddr, tos: u8, message: &[u8]) {
        let mut out = Outbox::new();
        let mut bytes = message.to_vec();
        let before = self.drops(end);
        let inner = self.ends[end].handle_udp(&mut bytes, &Path::from(from), tos, self.now, &mut out);
        if let Some(inner) = inner {
            assert_eq!(self.drops(end), before, "what is delivered is not dropped");
            let packet = &bytes[inner.range];
            if end == DEVICE {
                assert!(is_the_peers(packet), "{packet:02x?} is not from the peer's addresses");
                assert_eq!(inner.peer, self.slot(), "of the peer that owns the addresses");
                self.settle_account(packet, tos);
                self.delivered += 1;
            }
        }
        self.collect(end, &out);
        self.assert_bounded(end);
    }

    fn slot(&mut self) -> u32 {
        let slot = self.ends[DEVICE].with_control(|control| control.roster.find(&KEYS.public[PEER]));
        slot.expect("the peer is configured")
    }

    fn drops(&mut self, end: usize) -> u64 {
        let drops = self.ends[end].with_control(|control| control.drops());
        drops.iter().map(|(_, count)| count).sum()
    }

    /// What the device delivers, the peer was given before, and as often at least.
    fn settle_account(&mut self, packet: &[u8], tos: u8) {
        let is_it = |sent: &[u8]| {
            // A packet that claims more bytes than it has gets some from its padding.
            let mut begin = sent.to_vec();
            begin.resize(packet.len().min(sent.len().next_multiple_of(16)), 0);
            // Congestion outside changes two bits inside, and the checksum of IPv4 with them.
            begin == packet || (tos & 3 == 3 && begin.get(12..) == packet.get(12..))
        };
        let account = self.sent.iter_mut().find(|(sent, open)| **open > 0 && is_it(sent));
        let (_, open) = account.expect("what is delivered was sent, and once");
        *open -= 1;
    }

    fn assert_bounded(&mut self, end: usize) {
        let (usage, next) = self.ends[end].with_control(|control| (control.shards[0].usage(), control.shards[0].poll_timeout()));
        // Up to three sessions and a handshake each.
        assert!(usage.indexes <= 4 * usage.tunnels && usage.tunnels <= 2, "{usage:?}");
        assert!(
            usage.wakes <= usage.tunnels && usage.staged <= 128 * usage.tunnels,
            "{usage:?}"
        );
        assert_eq!(next.is_some(), usage.wakes > 0);
    }

    /// Lets time pass; what is due on the way is done in time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.ends.iter().filter_map(Device::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.step_to(next);
            for device in [DEVICE, PEER] {
                let mut out = Outbox::new();
                self.ends[device].handle_timeout(self.now, self.wall, &mut out);
                assert!(
                    self.ends[device].poll_timeout().is_none_or(|next| next > self.now),
                    "done is done"
                );
                self.collect(device, &out);
                self.assert_bounded(device);
            }
        }
        self.step_to(end);
    }

    fn step_to(&mut self, at: Instant) {
        let at = at.max(self.now);
        self.wall += at - self.now;
        self.now = at;
    }

    /// Delivers all that is under way, and the answers.
    fn deliver_all(&mut self) {
        for _ in 0..16 {
            for end in [DEVICE, PEER] {
                let from = address(1 - end, self.v6);
                for message in std::mem::take(&mut self.under_way[end]) {
                    self.udp(end, from, 0, &message);
                }
            }
        }
    }

    /// Whatever happened: with both ends set up as at first and nothing lost, packets arrive again.
    fn assert_recovers(&mut self) {
        self.under_way = [vec![], vec![]];
        for end in [DEVICE, PEER] {
            self.reset(end);
            self.ends[end].set_mtu(MTU);
        }
        let packet = template(0, false, &[0xee; 20]);
        let before = self.delivered;
        for _ in 0..RECOVERY {
            self.tun(PEER, &packet);
            // A quarter of a second each: retries come at odd moments.
            for _ in 0..4 {
                self.deliver_all();
                if self.delivered > before {
                    return;
                }
                self.pass(Duration::from_millis(250));
            }
        }
        panic!("no packet arrives {RECOVERY} s after the last loss");
    }
}

fn is_the_peers(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet[12..15] == [10, 0, 1],
        Some(6) => packet[8..16] == [0xfd, 1, 0, 0, 0, 0, 0, 0],
        _ => false,
    }
}

/// A packet to the device from the peer's addresses, or from the device to the peer's.
fn template(host: u8, v6: bool, body: &[u8]) -> Vec<u8> {
    if v6 {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        packet[6..10].copy_from_slice(&[17, 64, 0xfd, 1]);
        packet[23] = host;
        packet[24..26].copy_from_slice(&[0xfd, 0]);
        packet[39] = 1;
        packet.extend_from_slice(body);
        packet
    } else {
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(20 + body.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 1, host, 10, 0, 0, 1]);
        packet.extend_from_slice(body);
        packet
    }
}

/// The same packet the other way.
fn reversed(mut packet: Vec<u8>) -> Vec<u8> {
    let (at, len) = if packet[0] >> 4 == 6 { (8, 16) } else { (12, 4) };
    packet[at..at + 2 * len].rotate_left(len);
    packet
}

/// mac1 for the owner of a key: whoever damages a message can write it.
fn sign(message: &mut [u8], key: &PublicKey) {
    let Some(at) = message.len().checked_sub(32).filter(|at| *at > 0) else {
        return;
    };
    let mac1_key = Blake2s256::new().chain_update(b"mac1----").chain_update(key.0).finalize();
    let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(&mac1_key) else {
        return;
    };
    mac.update(&message[..at]);
    message[at..at + 16].copy_from_slice(&mac.finalize().into_bytes());
}

fn damaged(mut message: Vec<u8>, end: usize, source: &mut Source<'_>) -> Vec<u8> {
    for _ in 0..=source.below(3) {
        let at = usize::from(source.word()) % message.len().max(1);
        match source.below(6) {
            0 | 1 => {
                let bits = source.byte();
                message.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
            }
            2 => message.truncate(at),
            3 => message.extend_from_slice(source.bytes(40)),
            4 => message.splice(at..at, source.bytes(8).iter().copied()).for_each(drop),
            // The counter of a data message.
            _ => {
                let counter = source.bytes(8);
                let room = message.get_mut(8..8 + counter.len());
                room.into_iter().for_each(|room| room.copy_from_slice(counter));
            }
        }
    }
    if source.flag() {
        sign(&mut message, &KEYS.public[end]);
    }
    message
}

/// A device, a peer of it whose keys are known, and what passes between them, in any order and shape.
pub fn wireguard(data: &[u8]) {
    let mut source = Source::new(data);
    let choice = source.byte();
    let mut world = World::new(choice & 1 == 1);
    if choice & 2 == 2 {
        // Most of what can go wrong needs a session.
        world.tun(PEER, &template(1, false, b"first"));
        world.deliver_all();
        assert_eq!(world.delivered, 1);
    }
    for _ in 0..STEPS {
        if source.is_empty() {
            break;
        }
        step(&mut world, &mut source);
    }
    // Handshakes are what takes time here.
    if choice & 4 == 0 {
        world.assert_recovers();
    }
}

fn step(world: &mut World, source: &mut Source<'_>) {
    let control = source.byte();
    let end = usize::from(control >> 7);
    let somewhere = |source: &mut Source<'_>| match source.byte() {
        0..128 => address(1 - end, world.v6),
        port => SocketAddr::new(address(1 - end, port & 1 == 1).ip(), 1000 + u16::from(port)),
    };
    match control & 15 {
        0 => {
            let from = somewhere(source);
            let bytes = source.bytes(200);
            world.udp(end, from, control, bytes);
        }
        1 | 2 => {
            let packet = template(source.byte(), source.flag(), source.bytes(100));
            world.tun(end, &if end == PEER { packet } else { reversed(packet) });
        }
        // A packet that is none, or of another peer.
        3 => {
            let mut packet = template(source.byte(), source.flag(), source.bytes(60));
            let at = source.below(40).min(packet.len() - 1);
            packet[at] = source.byte();
            if source.flag() {
                packet.truncate(source.below(60));
            }
            world.tun(end, &if end == PEER { packet } else { reversed_if_whole(packet) });
        }
        4 => {
            let bytes = source.bytes(255);
            world.tun(end, bytes);
        }
        5..=7 => {
            let from = somewhere(source);
            let queue = &mut world.under_way[end];
            if !queue.is_empty() {
                let message = queue.remove(source.below(queue.len().min(256)));
                remember(&mut world.seen, &message);
                world.udp(end, from, source.byte(), &message);
            }
        }
        8 => world.deliver_all(),
        9 => {
            let from = somewhere(source);
            if !world.seen.is_empty() {
                let message = source.pick_from(&world.seen);
                world.udp(end, from, 0, &message);
            }
        }
        10 | 11 => {
            let from = somewhere(source);
            let kept = if control & 0x40 == 0 {
                &world.under_way[end]
            } else {
                &world.seen
            };
            if !kept.is_empty() {
                let message = damaged(source.pick_from(kept), end, source);
                world.udp(end, from, source.byte(), &message);
            }
        }
        12 => world.pass(Duration::from_millis(u64::from(source.byte()) * 10)),
        13 => world.pass(Duration::from_secs(u64::from(source.byte()))),
        14 => change(world, source),
        _ => {
            world.under_way[end].clear();
            world.ends[end].set_mtu(576 + usize::from(source.word() % 9000));
        }
    }
}

fn reversed_if_whole(packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 40 { reversed(packet) } else { packet }
}

fn remember(seen: &mut Vec<Vec<u8>>, message: &[u8]) {
    if seen.len() >= KEPT {
        seen.remove(0);
    }
    seen.push(message.to_vec());
}

/// The administrator changes the device; the peer stays one with these addresses, or is none for a moment.
fn change(world: &mut World, source: &mut Source<'_>) {
    let mut peer = base(PEER, world.v6);
    match source.below(8) {
        0 => world.apply(PeerChange::Remove(peer.public_key)),
        1 => peer.persistent_keepalive = Some(u16::from(source.byte())),
        2 => peer.preshared_key = Some(PresharedKey([source.byte(); 32])),
        3 => peer.endpoint = None,
        4 => peer.endpoint = Some(SocketAddr::new(address(PEER, source.flag()).ip(), source.word())),
        5 => world.reset(DEVICE),
        6 => {
            // Another key, and back again: all sessions are gone.
            for key in [KEYS.private[SILENT].clone(), KEYS.private[DEVICE].clone()] {
                let config = DeviceConfig {
                    private_key: key,
                    listen_port: 0,
                    fwmark: 0,
                    peers: vec![peer.clone()],
                };
                let (now, mut out) = (world.now, Outbox::new());
                world.ends[DEVICE].with_control(|control| control.set(&config, now, &mut out));
                world.collect(DEVICE, &out);
            }
        }
        _ => {
            let mut silent = base(SILENT, world.v6);
            silent.persistent_keepalive = Some(u16::from(source.byte()));
            world.apply(PeerChange::Set(silent));
        }
    }
    world.apply(PeerChange::Set(peer));
}
