//! Packets of a policy's world: the oracle's hosts, and what a hub meets besides.

use fielato_oracle::network::Surroundings;
use fielato_oracle::random::Random;
use fielato_oracle::rules::{CLIENTS, SERVICES};
use fielato_oracle::subject::{Output, Port};
use fielato_oracle::traffic::{Input, Traffic};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, Headers, checksum, number};
use ipnet::IpNet;

use crate::scene::Scene;

/// Everybody around the hub.
pub struct Crowd {
    traffic: Traffic,
    random: Random,
    around: Surroundings,
    /// Banned networks, for sources in them.
    banned: Vec<IpNet>,
    /// MTUs of tunnel and uplink.
    mtus: [u32; 2],
}

impl Crowd {
    /// Hosts that do what `seed` says.
    pub fn new(seed: u64, scene: &Scene) -> Self {
        Self {
            traffic: Traffic::among(seed, scene.around.clone(), true),
            random: Random::new(seed ^ 0xc0_3d00_0000),
            around: scene.around.clone(),
            banned: scene.plan.bans.iter().map(|ban| ban.network).collect(),
            mtus: [scene.plan.mtu, crate::network::UPLINK_MTU],
        }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Input {
        // It may be sent a little later, behind fragments and conversations that are on their way.
        if self.random.chance(9) {
            let input = self.unusual();
            self.traffic.plan(input);
        }
        loop {
            let (port, packet) = self.traffic.next_packet();
            if port != Port::Host || self.is_made_here(&packet) {
                return (port, packet);
            }
        }
    }

    /// Whether the hub's own stack would send this: from an address of its own, to another machine, with a right checksum.
    fn is_made_here(&self, packet: &[u8]) -> bool {
        let Ok(headers) = Headers::parse(packet) else {
            return false;
        };
        let own = &self.around.of(headers.family).local;
        let bytes = headers.transport(packet);
        let right = match headers.protocol {
            number::ICMP => checksum::checksum(bytes) == 0,
            number::ICMPV6 => checksum::transport(headers.src, headers.dst, number::ICMPV6, bytes) == 0,
            _ => true,
        };
        own.contains(&headers.src) && !own.contains(&headers.dst) && right
    }

    /// Hosts receive what came out.
    pub fn observe(&mut self, outputs: &[Output]) {
        self.traffic.observe(outputs);
    }

    fn unusual(&mut self) -> Input {
        let Self {
            random,
            around,
            banned,
            mtus,
            ..
        } = self;
        let family = if random.chance(50) { Family::V4 } else { Family::V6 };
        let around = around.of(family);
        let from = *random.pick(&[Port::Inside, Port::Inside, Port::Outside]);
        let other = if from == Port::Inside { Port::Outside } else { Port::Inside };
        let (mut src, mut dst) = (*random.pick(around.hosts(from)), *random.pick(around.hosts(other)));
        let mut ip = Ip::new(family, src, dst);
        match random.below(7) {
            // A source that belongs elsewhere: a member's from outside, the hub's own, a stranger's through the tunnel.
            0 => src = *random.pick(around.hosts(other)),
            1 => src = *random.pick(&around.local),
            2 => {
                let inside: Vec<Addr> = banned.iter().filter_map(|net| within(random, net, family)).collect();
                if !inside.is_empty() {
                    src = *random.pick(&inside);
                }
            }
            // From member to member, or from outside to outside (transit).
            3 => dst = *random.pick(around.hosts(from)),
            4 => dst = *random.pick(&around.spare),
            5 => ip.ttl = *random.pick(&[0, 1, 1, 2]),
            _ => return (from, large(random, family, src, dst, *mtus)),
        }
        (ip.src, ip.dst) = (src, dst);
        ip.dont_fragment = random.chance(50);
        (from, plain(random, &ip, 0))
    }
}

/// An address of `net`, when it is of that family.
fn within(random: &mut Random, net: &IpNet, family: Family) -> Option<Addr> {
    let rest = Addr {
        hi: random.bits(),
        lo: random.bits(),
    };
    let (base, mask) = match (net, family) {
        (IpNet::V4(net), Family::V4) => (Addr::from(net.network()), Addr::from(net.hostmask())),
        (IpNet::V6(net), Family::V6) => (Addr::from(net.network()), Addr::from(net.hostmask())),
        _ => return None,
    };
    Some(Addr {
        hi: base.hi | rest.hi & mask.hi,
        lo: base.lo | rest.lo & mask.lo,
    })
}

/// About as large as one of the MTUs, or larger.
fn large(random: &mut Random, family: Family, src: Addr, dst: Addr, mtus: [u32; 2]) -> Vec<u8> {
    let mut ip = Ip::new(family, src, dst);
    ip.dont_fragment = random.chance(50);
    let length = match random.below(4) {
        0 => mtus[0] + random.between(0, 3) - 1,
        1 => mtus[1] + random.between(0, 3) - 1,
        2 => random.between(1270, 1600),
        _ => random.between(1400, 4000),
    };
    plain(random, &ip, length as usize)
}

/// A datagram, an echo request or a segment, of `length` bytes if that is more than it needs.
fn plain(random: &mut Random, ip: &Ip, length: usize) -> Vec<u8> {
    let (sport, dport) = (*random.pick(&CLIENTS), *random.pick(&SERVICES));
    let header = if ip.family == Family::V4 { 20 } else { 40 };
    let payload = |transport: usize| vec![b'x'; length.saturating_sub(header + transport)];
    match random.below(4) {
        0 | 1 => ip.udp(sport, dport, &payload(8)),
        2 => ip.echo_request(random.below(6) as u16 + 1, 7, &payload(8)),
        _ => {
            let mut tcp = Tcp::new(sport, dport).seq(random.bits() as u32).payload(payload(20));
            if random.chance(70) {
                tcp = tcp.syn();
            }
            ip.tcp(&tcp)
        }
    }
}
