//! The hub, its members, and what they do all day.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use fielato_gateway::{
    Buffer, Config, Gateway, Hub, Link, Moment, Output, Port, PortId, PortKind, RpFilter, SetConfig, Shaping, guard, neighbour,
};
use fielato_netfilter::sets::{Kind, Part};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, TcpFlags};
use fielato_wireguard::aead::Ring;
use fielato_wireguard::{Destination, Device, DeviceConfig, Outbox, Path, PeerChange, PeerConfig, PrivateKey};

use crate::servers;

pub const TUNNEL: PortId = PortId(1);
pub const HOST: PortId = PortId(2);
pub const UPLINK: PortId = PortId(3);

/// Small limits, so that the day runs into them.
pub const SOURCES: usize = 40;
pub const NEIGHBOURS: usize = 64;
pub const CONNECTIONS: u32 = 4000;

const HUB: &str = "203.0.113.1:51820";

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub members: usize,
    pub hours: u64,
    /// How often each member begins something.
    pub flow_every: Duration,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Tally {
    pub flows: u64,
    pub answers: u64,
    pub handshakes: u64,
    pub roamed: u64,
    pub swaps: u64,
    pub cut: u64,
    pub bans: u64,
    pub limits: Vec<&'static str>,
}

/// What is left when every flow is over.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    pub connections: usize,
    pub waiting: usize,
    pub neighbours_waiting: usize,
    pub neighbours: usize,
    pub sources: usize,
    pub connection_memory: usize,
}

struct Member {
    device: Device,
    endpoint: SocketAddr,
    online: bool,
    /// Its part in the group that rules admit.
    admitted: bool,
    next_port: u16,
    /// When its device wants to be called.
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Hub,
    Device(usize),
    ComesOrGoes(usize),
    Roams(usize),
    Begins(usize),
    /// A TCP flow's next segment: member, family, port, steps so far, whether it ends properly.
    Tcp(usize, bool, u16, u8, bool),
    Swap,
    Ban,
}

pub struct World {
    pub hub: Hub,
    pub at: Moment,
    pub tally: Tally,
    pub rng: fastrand::Rng,
    size: Size,
    members: Vec<Member>,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    hub_wake: Option<Instant>,
}

fn key(number: usize) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    bytes[31] = 0x47;
    bytes[0] &= 0xf8;
    bytes[8..16].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PrivateKey(bytes)
}

pub fn address(member: usize, family: Family) -> IpAddr {
    let number = member as u32 + 2;
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a08_0000 + number).into(),
        Family::V6 => Ipv6Addr::from_bits(0xfd08 << 112 | u128::from(number)).into(),
    }
}

pub fn server(family: Family, number: u64) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0xc000_0200 + number as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)).into(),
    }
}

fn rules(family: Family, set: &str, ports: &str) -> fielato_netfilter::Ruleset {
    let net = if family == Family::V4 { "10.8.0.0/16" } else { "fd08::/64" };
    let text = format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s {net} -o eth0 -j MASQUERADE\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A FORWARD -i wg0 -p tcp -m tcp --dport 22 -j REJECT\n\
         -A FORWARD -i wg0 -p tcp -m multiport --dports {ports} -m set --match-set {set} src -j ACCEPT\n\
         -A FORWARD -i wg0 ! -p tcp -m set --match-set {set} src -j ACCEPT\nCOMMIT\n"
    );
    let mut names = fielato_iptables::FileNames::new();
    names.set(set);
    fielato_iptables::restore::parse(&text, family, &fielato_iptables::Registry::builtin(), &names).unwrap()
}

impl World {
    pub fn new(size: Size, seed: u64) -> World {
        let instant = Instant::now() + Duration::from_secs(10);
        let at = Moment {
            instant,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let epoch = instant - Duration::from_secs(10);
        let config = config(&(0..size.members).collect::<Vec<_>>(), "80,443");
        let gateway = Gateway::new(config, seed, Hub::now(epoch, at)).unwrap();
        let mut device = Device::new(1420, Box::new(Ring), [9; 32], at.instant, at.wall);
        let config = DeviceConfig {
            private_key: key(0),
            listen_port: 51820,
            fwmark: 0,
            peers: Vec::new(),
        };
        device.with_control(|control| control.set(&config, at.instant, &mut Outbox::new()));
        let mut world = World {
            hub: Hub::new(device, gateway, TUNNEL, epoch),
            at,
            tally: Tally::default(),
            rng: fastrand::Rng::with_seed(seed),
            size,
            members: Vec::new(),
            events: BinaryHeap::new(),
            hub_wake: None,
        };
        for number in 0..size.members {
            world.add(number);
        }
        world
    }

    fn add(&mut self, number: usize) {
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let mut device = Device::new(1420, Box::new(Ring), seed, self.at.instant, self.at.wall);
        let peer = |key: &PrivateKey, endpoint: Option<&str>, allowed_ips| PeerConfig {
            public_key: key.public_key(),
            preshared_key: None,
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            persistent_keepalive: None,
            allowed_ips,
        };
        let config = DeviceConfig {
            private_key: key(number + 1),
            listen_port: 51820,
            fwmark: 0,
            peers: vec![peer(
                &key(0),
                Some(HUB),
                vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            )],
        };
        device.with_control(|control| control.set(&config, self.at.instant, &mut Outbox::new()));
        let own = [Family::V4, Family::V6].map(|family| address(number, family).into());
        let change = PeerChange::Set(peer(&key(number + 1), None, own.to_vec()));
        let now = self.at.instant;
        let (hub, out) = self.hub.device_mut();
        hub.with_control(|control| control.apply(&[change], now, out));
        self.members.push(Member {
            device,
            endpoint: SocketAddr::new(
                Ipv4Addr::from_bits(0xc633_6400 + number as u32 % 200).into(),
                4000 + number as u16,
            ),
            online: true,
            admitted: true,
            next_port: 1024,
            wake: None,
        });
        self.plan(self.size.flow_every, Event::Begins(number));
        self.plan(Duration::from_secs(7200), Event::ComesOrGoes(number));
        self.plan(Duration::from_secs(3600), Event::Roams(number));
    }

    /// At random, on average after `mean`.
    fn plan(&mut self, mean: Duration, event: Event) {
        let factor = -(1.0 - self.rng.f64()).ln();
        self.events
            .push(Reverse((self.at.instant + mean.mul_f64(factor.clamp(0.001, 8.0)), event)));
    }

    /// So many hours of a hub's life.
    pub fn live(&mut self, hours: u64) {
        let end = self.at.instant + Duration::from_secs(hours * 3600);
        self.plan(Duration::from_secs(600), Event::Swap);
        self.plan(Duration::from_secs(300), Event::Ban);
        while let Some(&Reverse((due, event))) = self.events.peek()
            && due < end
        {
            self.events.pop();
            self.pass_until(due);
            self.happens(event);
        }
        self.pass_until(end);
    }

    pub fn pass_until(&mut self, due: Instant) {
        let passed = due.saturating_duration_since(self.at.instant);
        self.at = Moment {
            instant: self.at.instant + passed,
            wall: self.at.wall + passed,
        };
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Hub => {
                if self.hub_wake.is_some_and(|wake| wake <= self.at.instant) {
                    self.hub_wake = None;
                    self.hub.handle_timeout(self.at);
                    self.carry();
                }
            }
            Event::Device(number) => {
                let at = self.at;
                let member = &mut self.members[number];
                if member.wake.is_some_and(|wake| wake <= at.instant) {
                    member.wake = None;
                    let mut out = Outbox::new();
                    member.device.handle_timeout(at.instant, at.wall, &mut out);
                    self.carry_out_of(number, &out);
                }
            }
            Event::ComesOrGoes(number) => {
                self.members[number].online ^= true;
                let away = if self.members[number].online { 7200 } else { 1800 };
                self.plan(Duration::from_secs(away), event);
            }
            Event::Roams(number) => {
                let port = self.rng.u16(1024..);
                self.members[number].endpoint =
                    SocketAddr::new(Ipv4Addr::from_bits(self.rng.u32(0x0b00_0000..0x0c00_0000)).into(), port);
                self.tally.roamed += 1;
                self.plan(Duration::from_secs(3600), event);
            }
            Event::Begins(number) => {
                self.plan(self.size.flow_every, event);
                if self.members[number].online {
                    self.begin(number);
                }
            }
            Event::Tcp(number, v6, port, step, ends) => self.go_on(number, v6, port, step, ends),
            Event::Swap => {
                self.plan(Duration::from_secs(600), event);
                self.swap();
            }
            Event::Ban => {
                self.plan(Duration::from_secs(300), event);
                let victim = self.rng.usize(..self.members.len());
                let until = self.at.wall + Duration::from_secs(120);
                let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
                for family in [Family::V4, Family::V6] {
                    self.hub
                        .gateway_mut()
                        .ban(address(victim, family).into(), Some(until))
                        .unwrap();
                }
                self.tally.bans += 1;
            }
        }
    }

    /// The group changes, or the ports.
    fn swap(&mut self) {
        let victim = self.rng.usize(..self.members.len());
        self.members[victim].admitted ^= true;
        let admitted: Vec<usize> = (0..self.members.len())
            .filter(|number| self.members[*number].admitted)
            .collect();
        let ports = if self.rng.bool() { "80,443" } else { "80" };
        let now = Hub::now(self.epoch(), self.at);
        let gateway = self.hub.gateway_mut();
        // Bans are the day's own.
        let mut config = config(&admitted, ports);
        config.guard.bans = gateway.bans().iter().map(|ban| (ban.network, ban.until)).collect();
        gateway.swap(config, now).unwrap();
        self.tally.swaps += 1;
        self.carry();
        let gateway = self.hub.gateway_mut();
        while {
            let cut = gateway.judge_some(1000, now);
            self.tally.cut += cut.unwrap_or(0) as u64;
            cut.is_none()
        } {}
    }

    pub fn epoch(&self) -> Instant {
        self.hub.epoch()
    }

    fn begin(&mut self, number: usize) {
        self.tally.flows += 1;
        let family = if self.rng.bool() { Family::V4 } else { Family::V6 };
        let port = self.members[number].next_port;
        self.members[number].next_port = port.checked_add(1).unwrap_or(1024);
        let to = server(family, self.rng.u64(2..40));
        let ip = Ip::between(address(number, family), to).unwrap();
        match self.rng.u8(0..10) {
            0..4 => self.say(number, &ip.udp(port, 53, b"question")),
            4..6 => self.say(number, &ip.echo_request(port, 1, b"hello")),
            6 => self.say(number, &ip.tcp(&Tcp::new(port, 22).syn())),
            _ => {
                let ends = self.rng.u8(0..3) != 0;
                self.go_on(number, family == Family::V6, port, 0, ends);
            }
        }
    }

    /// TCP with one server: SYN, data, FIN or nothing more.
    fn go_on(&mut self, number: usize, v6: bool, port: u16, step: u8, ends: bool) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let ip = Ip::between(address(number, family), server(family, 7)).unwrap();
        let dport = if port.is_multiple_of(2) { 80 } else { 443 };
        let tcp = Tcp::new(port, dport);
        let segment = match step {
            0 => tcp.syn(),
            1..=3 => Tcp {
                seq: 1 + u32::from(step - 1) * 4,
                ack: 1,
                payload: b"data".to_vec(),
                ..tcp
            }
            .flags(TcpFlags::ACK | TcpFlags::PSH),
            4 if ends => Tcp { seq: 13, ack: 1, ..tcp }.flags(TcpFlags::ACK | TcpFlags::FIN),
            5 if ends => Tcp { seq: 14, ack: 2, ..tcp }.flags(TcpFlags::ACK),
            _ => return,
        };
        if self.members[number].online {
            self.say(number, &ip.tcp(&segment));
        }
        self.plan(Duration::from_secs(2), Event::Tcp(number, v6, port, step + 1, ends));
    }

    /// A packet of a member's, into its tunnel.
    pub fn say(&mut self, number: usize, packet: &[u8]) {
        let mut out = Outbox::new();
        self.members[number].device.handle_tun(packet, self.at.instant, &mut out);
        self.carry_out_of(number, &out);
    }

    fn carry_out_of(&mut self, number: usize, out: &Outbox) {
        self.note_wake(number);
        let from = Path::from(self.members[number].endpoint);
        for (destination, data) in out.iter() {
            let Destination::Network { tos, .. } = destination else {
                continue;
            };
            self.tally.handshakes += u64::from(data[0] == 1);
            self.hub.handle_udp(&mut data.to_vec(), &from, tos, self.at);
        }
        self.carry();
    }

    /// Takes to its place all that the hub sends, until it is silent.
    pub fn carry(&mut self) {
        while let Some(output) = self.hub.poll(self.at) {
            match output {
                Output::Datagram { path, tos, mut data } => self.bring_to_member(path.remote, tos, &mut data),
                Output::Packet { port: UPLINK, packet } => {
                    if let Some(answer) = servers::answer(&packet.data) {
                        self.hub.handle_packet(UPLINK, Buffer::from(answer), self.at);
                    }
                }
                Output::Packet { .. } => {}
            }
        }
        let due = self.hub.poll_timeout();
        if let Some(due) = due
            && self.hub_wake.is_none_or(|wake| due < wake)
        {
            // The hub need not be called to the nanosecond.
            let due = due.max(self.at.instant + Duration::from_millis(1));
            self.hub_wake = Some(due);
            self.events.push(Reverse((due, Event::Hub)));
        }
    }

    fn bring_to_member(&mut self, endpoint: SocketAddr, tos: u8, data: &mut [u8]) {
        let Some(number) = self
            .members
            .iter()
            .position(|member| member.endpoint == endpoint && member.online)
        else {
            return;
        };
        let mut out = Outbox::new();
        let hub = Path::from(HUB.parse::<SocketAddr>().unwrap());
        let member = &mut self.members[number];
        if member.device.handle_udp(data, &hub, tos, self.at.instant, &mut out).is_some() {
            self.tally.answers += 1;
        }
        self.note_wake(number);
        let from = Path::from(self.members[number].endpoint);
        for (destination, data) in out.iter() {
            if let Destination::Network { tos, .. } = destination {
                self.hub.handle_udp(&mut data.to_vec(), &from, tos, self.at);
            }
        }
    }

    fn note_wake(&mut self, number: usize) {
        let member = &mut self.members[number];
        if let Some(due) = member.device.poll_timeout()
            && member.wake.is_none_or(|wake| due < wake)
        {
            let due = due.max(self.at.instant);
            member.wake = Some(due);
            self.events.push(Reverse((due, Event::Device(number))));
        }
    }

    /// Everybody is silent until the last flow is over: TCP's established connections are kept for five days.
    pub fn end_of_flows(&mut self) -> Left {
        for _ in 0..6 * 24 * 6 {
            self.pass_until(self.at.instant + Duration::from_secs(600));
            self.hub.handle_timeout(self.at);
            self.carry();
        }
        let usage = self.hub.gateway().usage();
        let waiting = usage.waiting;
        Left {
            connections: usage.connections,
            waiting,
            neighbours_waiting: usage.neighbours_asked,
            neighbours: usage.neighbours,
            sources: usage.sources,
            connection_memory: usage.connection_memory,
        }
    }
}

pub fn config(admitted: &[usize], ports: &str) -> Config {
    let port = |id, name: &str, kind, mtu, addresses: [&str; 2]| Port {
        id,
        name: name.to_owned(),
        kind,
        mtu,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        link: Link::Ip,
        rp_filter: RpFilter::Strict,
    };
    let set = |name: &str, family: Family| SetConfig {
        name: name.to_owned(),
        kind: Kind::from_name("hash:ip", family).unwrap(),
        entries: admitted
            .iter()
            .map(|member| vec![Part::Addr(Addr::from(address(*member, family)), family.bits())])
            .collect(),
    };
    let mut config = Config {
        ports: vec![
            port(TUNNEL, "wg0", PortKind::Tunnel, 1420, ["10.8.0.1/16", "fd08::1/64"]),
            port(UPLINK, "eth0", PortKind::Network, 1500, ["192.0.2.1/24", "2001:db8::1/64"]),
        ],
        rulesets: [rules(Family::V4, "staff4", ports), rules(Family::V6, "staff6", ports)],
        sets: vec![set("staff4", Family::V4), set("staff6", Family::V6)],
        shaping: vec![Shaping {
            port: TUNNEL,
            items: vec![fielato_qdisc::Item::Qdisc(
                fielato_qdisc::qdisc("root handle 1: tbf rate 100mbit burst 64k limit 200k").unwrap(),
            )],
            classes: Default::default(),
        }],
        guard: guard::Config {
            sources: SOURCES as u32,
            limit: Some(guard::Limit {
                rate: 100_000,
                burst: 20_000,
            }),
            ..guard::Config::default()
        },
        ..Config::default()
    };
    config.ports[1].link = Link::Ethernet { mac: servers::GATEWAY };
    config.settings.conntrack.max = CONNECTIONS;
    config.settings.conntrack.fragment_memory = 200_000;
    config.settings.neighbours = neighbour::Settings {
        max: NEIGHBOURS,
        ..neighbour::Settings::default()
    };
    config
}
