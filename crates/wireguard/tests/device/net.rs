//! Devices on a virtual network with a virtual clock.
//!
//! ```text
//!   node 0 (A)         node 1 (B)         node n
//!   10.0.0.1           10.0.0.2           10.0.0.(n+1)      inside
//!   fd00::1            fd00::2            fd00::(n+1)
//!      │                  │                  │
//!   192.0.2.1:1001     192.0.2.2:1002     192.0.2.(n+1)     outside, or 2001:db8::(n+1)
//!      └──── one link with delay, loss, reordering and copies ────┘
//! ```
//!
//! Time jumps to the next arrival or deadline; nothing sleeps, and one seed gives one course of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use fielato_wireguard::aead::Ring;
use fielato_wireguard::shard::Usage;
use fielato_wireguard::{
    Destination, Device, DeviceConfig, DeviceStatus, DropReason, Outbox, Path, PeerChange, PeerConfig, PeerStatus, PresharedKey,
    PrivateKey,
};

pub const MTU: usize = 1420;
pub const A: usize = 0;
pub const B: usize = 1;

pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const COOKIE: u8 = 3;
pub const DATA: u8 = 4;

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What every behaviour is tried under.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The family of the addresses outside and inside.
    pub v6: bool,
    pub psk: bool,
}

impl Case {
    pub const V4: Self = Self { v6: false, psk: false };

    pub fn all() -> impl Iterator<Item = Self> {
        let families = [false, true].into_iter();
        families.flat_map(|v6| [false, true].map(|psk| Self { v6, psk }))
    }
}

/// How datagrams fare on their way.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    /// Added at random; what it is larger than, it reorders.
    pub jitter: Duration,
    /// Of a thousand.
    pub lost: u32,
    /// Of a thousand.
    pub doubled: u32,
}

impl Link {
    pub const GOOD: Self = Self {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        lost: 0,
        doubled: 0,
    };
    pub const CUT: Self = Self {
        lost: 1000,
        ..Self::GOOD
    };
}

/// A datagram that left a node.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub at: Instant,
    /// Who sent it; the address may be another's by now.
    pub node: usize,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub tos: u8,
    pub bytes: Vec<u8>,
}

impl Datagram {
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }

    pub fn is_keepalive(&self) -> bool {
        self.kind() == DATA && self.bytes.len() == 32
    }
}

/// A decrypted packet, with the key of its sender as the device has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub packet: Vec<u8>,
    pub peer: u32,
}

pub struct Node {
    pub device: Device,
    pub key: PrivateKey,
    pub address: SocketAddr,
    /// What the time of day of this node is ahead of the others'.
    pub clock_ahead: Duration,
    /// Packets that came out of the tunnel.
    pub inbox: Vec<Delivered>,
    /// What the device told its own interface: ICMP errors.
    pub errors: Vec<Vec<u8>>,
}

struct Flight {
    at: Instant,
    serial: u64,
    datagram: Datagram,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

pub struct Net {
    pub start: Instant,
    pub now: Instant,
    pub nodes: Vec<Node>,
    pub link: Link,
    pub random: fastrand::Rng,
    /// Everything that left a node, in order.
    pub log: Vec<Datagram>,
    pub case: Case,
    flying: BinaryHeap<Reverse<Flight>>,
    serial: u64,
}

impl Net {
    pub fn new(case: Case, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            nodes: Vec::new(),
            link: Link::GOOD,
            random: fastrand::Rng::with_seed(seed),
            log: Vec::new(),
            case,
            flying: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Two devices that are each other's peers, without a session.
    pub fn pair(case: Case) -> Self {
        let mut net = Self::new(case, 0x5eed);
        net.add();
        net.add();
        net.introduce(A, B);
        net
    }

    /// Two devices with a session that A began.
    pub fn joined(case: Case) -> Self {
        let mut net = Self::pair(case);
        let first = net.packet(A, B, 1, 0);
        net.tun(A, &first);
        net.settle();
        assert_eq!(net.take(B), [first]);
        net.log.clear();
        net
    }

    /// One more node, which has a key and no peers.
    pub fn add(&mut self) -> usize {
        let number = self.nodes.len();
        let outside = if self.case.v6 {
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number as u16 + 1))
        } else {
            IpAddr::from(Ipv4Addr::new(192, 0, 2, number as u8 + 1))
        };
        let (device, key) = (self.device(), self.key());
        self.nodes.push(Node {
            device,
            key,
            address: SocketAddr::new(outside, 1001 + number as u16),
            clock_ahead: Duration::ZERO,
            inbox: Vec::new(),
            errors: Vec::new(),
        });
        self.set(number, vec![]);
        number
    }

    fn device(&mut self) -> Device {
        let mut seed = [0; 32];
        self.random.fill(&mut seed);
        Device::new(MTU, Box::new(Ring), seed, self.now, self.wall(Duration::ZERO))
    }

    /// A private key, as `wg genkey` makes them.
    pub fn key(&mut self) -> PrivateKey {
        let mut key = [0; 32];
        self.random.fill(&mut key);
        key[0] &= 248;
        key[31] = key[31] & 127 | 64;
        PrivateKey(key)
    }

    /// The time of day, somewhere in 2023.
    pub fn wall(&self, ahead: Duration) -> SystemTime {
        SystemTime::UNIX_EPOCH + seconds(1_700_000_000) + (self.now - self.start) + ahead
    }

    /// What `node` is to others.
    pub fn as_peer(&self, node: usize) -> PeerConfig {
        let number = node + 1;
        let allowed = [format!("10.0.0.{number}/32"), format!("fd00::{number:x}/128")];
        PeerConfig {
            public_key: self.nodes[node].key.public_key(),
            preshared_key: self.case.psk.then_some(PresharedKey([0x77; 32])),
            endpoint: Some(self.nodes[node].address),
            persistent_keepalive: None,
            allowed_ips: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    /// Makes two nodes each other's peers.
    pub fn introduce(&mut self, a: usize, b: usize) {
        let (a_peer, b_peer) = (self.as_peer(a), self.as_peer(b));
        self.apply(a, PeerChange::Set(b_peer));
        self.apply(b, PeerChange::Set(a_peer));
    }

    pub fn set(&mut self, node: usize, peers: Vec<PeerConfig>) {
        let config = DeviceConfig {
            private_key: self.nodes[node].key.clone(),
            listen_port: self.nodes[node].address.port(),
            fwmark: 0,
            peers,
        };
        let mut out = Outbox::new();
        let now = self.now;
        self.nodes[node]
            .device
            .with_control(|control| control.set(&config, now, &mut out));
        self.send(node, &out);
    }

    pub fn apply(&mut self, node: usize, change: PeerChange) {
        let mut out = Outbox::new();
        let now = self.now;
        self.nodes[node]
            .device
            .with_control(|control| control.apply(&[change], now, &mut out));
        self.send(node, &out);
    }

    /// Changes what `node` knows of `peer`.
    pub fn change(&mut self, node: usize, peer: usize, change: impl FnOnce(&mut PeerConfig)) {
        let mut config = self.as_peer(peer);
        change(&mut config);
        self.apply(node, PeerChange::Set(config));
    }

    /// The node's program begins anew: same key, same peers, nothing else left.
    pub fn restart(&mut self, node: usize, peers: Vec<PeerConfig>) {
        self.nodes[node].device = self.device();
        self.set(node, peers);
    }

    /// The node's address and port are others from now on.
    pub fn move_to(&mut self, node: usize, address: &str) {
        self.nodes[node].address = address.parse().unwrap();
    }

    /// An address where nobody is.
    pub fn elsewhere(&self) -> SocketAddr {
        let address = if self.case.v6 {
            "[2001:db8:ffff::7]:7"
        } else {
            "198.51.100.7:7"
        };
        address.parse().unwrap()
    }

    /// A packet between two nodes of the case's family. `id` makes it one of its kind.
    pub fn packet(&self, from: usize, to: usize, payload: usize, id: u32) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.resize(payload.max(4), id as u8);
        if self.case.v6 {
            packet(&format!("fd00::{:x}", from + 1), &format!("fd00::{:x}", to + 1), &body)
        } else {
            packet(&format!("10.0.0.{}", from + 1), &format!("10.0.0.{}", to + 1), &body)
        }
    }

    /// Gives a packet to a node's interface.
    pub fn tun(&mut self, node: usize, packet: &[u8]) {
        let mut out = Outbox::new();
        self.nodes[node].device.handle_tun(packet, self.now, &mut out);
        self.send(node, &out);
    }

    /// Gives a packet to a node's interface, and the datagram that it becomes to the caller.
    pub fn seal(&mut self, node: usize, packet: &[u8]) -> Vec<u8> {
        let mut out = Outbox::new();
        self.nodes[node].device.handle_tun(packet, self.now, &mut out);
        let mut datagrams = out.iter().filter(|(_, bytes)| bytes[0] == DATA);
        datagrams.next().expect("a session").1.to_vec()
    }

    /// Gives a datagram to a node; its answers go out.
    pub fn udp(&mut self, node: usize, from: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
        self.udp_with_tos(node, from, 0, bytes)
    }

    pub fn udp_with_tos(&mut self, node: usize, from: SocketAddr, tos: u8, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Outbox::new();
        let mut bytes = bytes.to_vec();
        let this = &mut self.nodes[node];
        let inner = this.device.handle_udp(&mut bytes, &Path::from(from), tos, self.now, &mut out);
        let packet = inner.map(|inner| {
            let packet = bytes[inner.range].to_vec();
            this.inbox.push(Delivered {
                packet: packet.clone(),
                peer: inner.peer,
            });
            packet
        });
        self.send(node, &out);
        packet
    }

    fn send(&mut self, node: usize, out: &Outbox) {
        for (destination, bytes) in out.iter() {
            match destination {
                Destination::Interface => self.nodes[node].errors.push(bytes.to_vec()),
                Destination::Network { path, tos } => {
                    let datagram = Datagram {
                        at: self.now,
                        node,
                        from: self.nodes[node].address,
                        to: path.remote,
                        tos,
                        bytes: bytes.to_vec(),
                    };
                    self.log.push(datagram.clone());
                    self.launch(datagram);
                }
            }
        }
    }

    fn launch(&mut self, datagram: Datagram) {
        if self.random.u32(..1000) < self.link.lost {
            return;
        }
        let copies = 1 + u32::from(self.random.u32(..1000) < self.link.doubled);
        for _ in 0..copies {
            let jitter = self.random.u64(..=self.link.jitter.as_nanos() as u64);
            self.serial += 1;
            self.flying.push(Reverse(Flight {
                at: self.now + self.link.delay + Duration::from_nanos(jitter),
                serial: self.serial,
                datagram: datagram.clone(),
            }));
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.flying.peek().map(|Reverse(flight)| flight.at);
        let deadlines = self.nodes.iter().filter_map(|node| node.device.poll_timeout());
        // What was due while nobody asked is due now.
        arrival.into_iter().chain(deadlines).min().map(|at| at.max(self.now))
    }

    /// One arrival, or every deadline of this moment.
    fn step(&mut self) {
        let now = self.now;
        if self.flying.peek().is_some_and(|Reverse(flight)| flight.at <= now) {
            let Some(Reverse(flight)) = self.flying.pop() else { return };
            let Datagram {
                from, to, tos, bytes, ..
            } = flight.datagram;
            // Who moved away gets nothing.
            if let Some(node) = self.nodes.iter().position(|node| node.address == to) {
                self.udp_with_tos(node, from, tos, &bytes);
            }
            return;
        }
        for node in 0..self.nodes.len() {
            let device = &self.nodes[node].device;
            if device.poll_timeout().is_some_and(|at| at <= now) {
                self.timeout(node);
            }
        }
    }

    /// Tells the node what time it is.
    pub fn timeout(&mut self, node: usize) {
        let wall = self.wall(self.nodes[node].clock_ahead);
        let mut out = Outbox::new();
        self.nodes[node].device.handle_timeout(self.now, wall, &mut out);
        self.send(node, &out);
    }

    /// Lets all that happens until `at` happen.
    pub fn run_until(&mut self, at: Instant) {
        let mut steps = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= at) {
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < 10_000, "time stands still: a deadline that passes nothing");
            self.now = next;
            self.step();
        }
        self.now = at;
    }

    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets what is under way arrive, and the answers to it.
    pub fn settle(&mut self) {
        while let Some(at) = self.flying.peek().map(|Reverse(flight)| flight.at) {
            self.run_until(at);
        }
    }

    /// The packets that came out at a node since it was last asked.
    pub fn take(&mut self, node: usize) -> Vec<Vec<u8>> {
        let inbox = std::mem::take(&mut self.nodes[node].inbox);
        inbox.into_iter().map(|delivered| delivered.packet).collect()
    }

    /// What left since the log was last taken.
    pub fn take_log(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.log)
    }

    /// How many messages of one kind stand in the log.
    pub fn count(&self, node: usize, kind: u8) -> usize {
        let sent = self.log.iter().filter(|datagram| datagram.from == self.nodes[node].address);
        sent.filter(|datagram| datagram.kind() == kind).count()
    }

    pub fn drops(&mut self, node: usize) -> Vec<(DropReason, u64)> {
        let drops = self.nodes[node].device.with_control(|control| control.drops());
        drops.iter().filter(|(_, count)| *count > 0).collect()
    }

    pub fn dropped(&mut self, node: usize, reason: DropReason) -> u64 {
        self.nodes[node].device.with_control(|control| control.drops()).get(reason)
    }

    pub fn status(&mut self, node: usize) -> DeviceStatus {
        let (now, wall) = (self.now, self.wall(Duration::ZERO));
        self.nodes[node].device.with_control(|control| control.status(now, wall))
    }

    /// What `node` knows of `peer`.
    pub fn peer_status(&mut self, node: usize, peer: usize) -> PeerStatus {
        let key = self.nodes[peer].key.public_key();
        let peers = self.status(node).peers;
        peers.into_iter().find(|status| status.public_key == key).unwrap()
    }

    pub fn endpoint(&mut self, node: usize, peer: usize) -> Option<SocketAddr> {
        self.peer_status(node, peer).endpoint
    }

    pub fn usage(&mut self, node: usize) -> Usage {
        self.nodes[node].device.with_control(|control| control.shards[0].usage())
    }

    /// The seconds since the beginning, for messages.
    pub fn age(&self, at: Instant) -> f64 {
        (at - self.start).as_secs_f64()
    }
}

/// An IP packet with the right lengths, addresses, protocol (UDP) and header checksum.
pub fn packet(source: &str, destination: &str, body: &[u8]) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0; 20];
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
            packet[8..10].copy_from_slice(&[64, 17]);
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
            set_checksum(&mut packet);
            packet.extend_from_slice(body);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; 40];
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&[17, 64]);
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
            packet.extend_from_slice(body);
            packet
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// Writes the IPv4 header's checksum.
pub fn set_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = fielato_wire::checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}
