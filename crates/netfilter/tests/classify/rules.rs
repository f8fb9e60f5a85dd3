//! Random rule sets of several kinds, and packets for them. Used by the classifier's tests and its benchmark.

use fielato_netfilter::classify::{Bounds, Key};
use fielato_wire::{Addr, Family};

/// A seeded generator (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }
}

/// What a rule set is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prefixes, ports, port ranges, protocols, interfaces, in all combinations.
    Mixed,
    /// The same with prefixes so short that many rules hold the same packet.
    Crowded,
    /// Source prefixes of all lengths and nothing else.
    Sources,
    /// Single source hosts.
    Hosts,
    /// Destination prefixes.
    Destinations,
    /// Source and destination prefixes.
    Pairs,
    /// Protocol and one destination port, in part with an interface.
    Services,
    /// Protocol and ranges of ports.
    Ranges,
    /// As firewalls of sites have them: few networks, common services, much left open, rules that overlap.
    Site,
    /// All ranges at random, addresses that are no prefixes too.
    Wild,
    /// Few values in each field, so that nearly all rules overlap.
    Dense,
}

pub const KINDS: [Kind; 11] = [
    Kind::Mixed,
    Kind::Crowded,
    Kind::Sources,
    Kind::Hosts,
    Kind::Destinations,
    Kind::Pairs,
    Kind::Services,
    Kind::Ranges,
    Kind::Site,
    Kind::Wild,
    Kind::Dense,
];

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const PORTS: [u16; 16] = [20, 21, 22, 25, 53, 80, 110, 123, 143, 443, 587, 993, 3306, 5432, 8080, 51820];

/// So many rules of the kind.
pub fn rules(kind: Kind, family: Family, count: usize, random: &mut Random) -> Vec<Bounds> {
    (0..count).map(|_| rule(kind, family, random)).collect()
}

fn rule(kind: Kind, family: Family, random: &mut Random) -> Bounds {
    let mut rule = Bounds {
        src: whole(family),
        dst: whole(family),
        ..Bounds::ANY
    };
    match kind {
        Kind::Mixed => mixed(&mut rule, family, family.bits() / 2, random),
        Kind::Crowded => mixed(&mut rule, family, family.bits() / 4, random),
        Kind::Sources => rule.src = any_prefix(family, random),
        Kind::Hosts => rule.src = prefix(family, address(family, random), family.bits()),
        Kind::Destinations => rule.dst = any_prefix(family, random),
        Kind::Pairs => {
            rule.src = any_prefix(family, random);
            rule.dst = any_prefix(family, random);
        }
        Kind::Services => {
            rule.protocol = Some(random.pick(&[TCP, UDP]));
            rule.dport = one(random.next() as u16);
            if random.chance(30) {
                rule.in_interface = Some(random.between(1, 20) as u32);
            }
        }
        Kind::Ranges => {
            rule.protocol = Some(random.pick(&[TCP, UDP]));
            rule.dport = range(random);
            if random.chance(30) {
                rule.sport = range(random);
            }
        }
        Kind::Site => site(&mut rule, family, random),
        Kind::Wild => {
            rule.src = wild(family, random);
            rule.dst = wild(family, random);
            rule.sport = ordered(random.next() as u16, random.next() as u16);
            rule.dport = ordered(random.next() as u16, random.next() as u16);
        }
        Kind::Dense => {
            let small = |random: &mut Random| Addr::from_bits(u128::from(random.between(0, 3)));
            if random.chance(50) {
                rule.src = (small(random), Addr::from_bits(3));
            }
            if random.chance(50) {
                rule.dst = (Addr::ZERO, small(random));
            }
            if random.chance(50) {
                rule.protocol = Some(random.pick(&[TCP, UDP]));
            }
            if random.chance(50) {
                rule.dport = ordered(random.between(0, 3) as u16, random.between(0, 3) as u16);
            }
            if random.chance(20) {
                rule.out_interface = Some(random.between(0, 2) as u32);
            }
        }
    }
    rule
}

fn mixed(rule: &mut Bounds, family: Family, shortest: u8, random: &mut Random) {
    let addresses = random.between(0, 9);
    if addresses < 7 {
        rule.src = prefix_from(shortest, family, random);
    }
    if addresses > 3 {
        rule.dst = prefix_from(shortest, family, random);
    }
    if random.chance(70) {
        rule.protocol = Some(random.pick(&[TCP, TCP, UDP, ICMP]));
    }
    if matches!(rule.protocol, Some(TCP | UDP)) {
        match random.between(0, 9) {
            0..=4 => rule.dport = one(random.next() as u16),
            5..=6 => rule.dport = range(random),
            7 => rule.sport = range(random),
            _ => {}
        }
    }
    if random.chance(20) {
        rule.in_interface = Some(random.between(1, 20) as u32);
    }
    if random.chance(10) {
        rule.out_interface = Some(random.between(1, 20) as u32);
    }
}

fn site(rule: &mut Bounds, family: Family, random: &mut Random) {
    // Addresses of 64 networks, their subnets and hosts.
    let network = |random: &mut Random| {
        let top = family.bits() / 2;
        let base = Addr::mask(family, top).to_bits() & (0x0a00_0000_u128 << (family.bits() - 32));
        let net = u128::from(random.between(0, 63)) << (family.bits() - top);
        let host = u128::from(random.next()) & !Addr::mask(family, top).to_bits() & whole(family).1.to_bits();
        let len = top + random.pick(&[0, 4, 8, 8, 8, 12, 16, 16, 16, 16]) * (family.bits() / 32).min(1);
        prefix(family, Addr::from_bits(base | net | host), len)
    };
    if random.chance(40) {
        rule.src = network(random);
    }
    if random.chance(70) {
        rule.dst = network(random);
    }
    if random.chance(90) {
        rule.protocol = Some(random.pick(&[TCP, TCP, TCP, UDP, ICMP]));
    }
    if matches!(rule.protocol, Some(TCP | UDP)) {
        match random.between(0, 9) {
            0..=6 => rule.dport = one(random.pick(&PORTS)),
            7 => rule.dport = (1024, u16::MAX),
            8 => rule.sport = one(random.pick(&PORTS)),
            _ => {}
        }
    }
    if random.chance(30) {
        rule.in_interface = Some(random.between(1, 6) as u32);
    }
    if random.chance(15) {
        rule.out_interface = Some(random.between(1, 6) as u32);
    }
}

/// A packet that the rule's bounds hold.
pub fn inside(rule: &Bounds, family: Family, random: &mut Random) -> Key {
    Key {
        src: within(rule.src, family, random),
        dst: within(rule.dst, family, random),
        protocol: rule.protocol.unwrap_or_else(|| random.pick(&[TCP, UDP, ICMP, 47])),
        sport: random.between(rule.sport.0.into(), rule.sport.1.into()) as u16,
        dport: random.between(rule.dport.0.into(), rule.dport.1.into()) as u16,
        in_interface: rule.in_interface.unwrap_or_else(|| random.between(0, 25) as u32),
        out_interface: rule.out_interface.unwrap_or_else(|| random.between(0, 25) as u32),
    }
}

/// A packet like one the rule holds, with one field moved.
pub fn beside(rule: &Bounds, family: Family, random: &mut Random) -> Key {
    let mut key = inside(rule, family, random);
    match random.between(0, 6) {
        0 => key.src = near(key.src, family, random),
        1 => key.dst = near(key.dst, family, random),
        2 => key.protocol = random.next() as u8,
        3 => key.sport = random.next() as u16,
        4 => key.dport = random.next() as u16,
        5 => key.in_interface = random.between(0, 25) as u32,
        _ => key.out_interface = random.between(0, 25) as u32,
    }
    key
}

/// The prefix of an address.
pub fn prefix(family: Family, address: Addr, len: u8) -> (Addr, Addr) {
    let mask = Addr::mask(family, len).to_bits();
    let lo = address.to_bits() & mask;
    (Addr::from_bits(lo), Addr::from_bits(lo | (!mask & whole(family).1.to_bits())))
}

/// All addresses of the family.
pub fn whole(family: Family) -> (Addr, Addr) {
    (Addr::ZERO, Addr::mask(family, family.bits()))
}

fn any_prefix(family: Family, random: &mut Random) -> (Addr, Addr) {
    prefix_from(family.bits() / 4, family, random)
}

/// A prefix of a random address, with so many bits or more.
fn prefix_from(shortest: u8, family: Family, random: &mut Random) -> (Addr, Addr) {
    let len = random.between(shortest.into(), family.bits().into()) as u8;
    prefix(family, address(family, random), len)
}

fn address(family: Family, random: &mut Random) -> Addr {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    Addr::from_bits(bits & whole(family).1.to_bits())
}

fn wild(family: Family, random: &mut Random) -> (Addr, Addr) {
    let (a, b) = (address(family, random), address(family, random));
    (a.min(b), a.max(b))
}

fn near(address: Addr, family: Family, random: &mut Random) -> Addr {
    let bit = random.between(0, u64::from(family.bits()) - 1);
    Addr::from_bits(address.to_bits() ^ 1 << bit)
}

fn within((lo, hi): (Addr, Addr), family: Family, random: &mut Random) -> Addr {
    let size = hi.to_bits() - lo.to_bits();
    let offset = address(family, random).to_bits();
    Addr::from_bits(lo.to_bits() + if size == u128::MAX { offset } else { offset % (size + 1) })
}

fn one(port: u16) -> (u16, u16) {
    (port, port)
}

fn range(random: &mut Random) -> (u16, u16) {
    let width = 1u16 << random.between(1, 14);
    let start = random.next() as u16;
    (start, start.saturating_add(random.next() as u16 % width))
}

fn ordered(a: u16, b: u16) -> (u16, u16) {
    (a.min(b), a.max(b))
}
