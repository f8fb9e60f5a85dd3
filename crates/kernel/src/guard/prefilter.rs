//! The bits that stand in front of the bans, so that a source which nobody banned rarely pays for a lookup.
//!
//! A clear bit means "no ban can match", a set bit "ask the map". The BPF program reads the words while this module
//! writes them, so each word goes from its old value to its new one in a single store, and a bit that has to stay set is
//! never clear in between.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::{Ipv4Net, Ipv6Net};

/// Words for IPv4 networks: a bit for each /24.
pub(super) const V4_WORDS: usize = 1 << 18;
/// log2 of the bits of a hashed prefilter: IPv6 networks, and the hosts of each family.
const HASHED_BITS: u32 = 22;
/// Words of a hashed prefilter.
pub(super) const HASHED_WORDS: usize = 1 << (HASHED_BITS - 6);

/// There are bans of hosts: the bit in the program's `active` of either family.
pub(super) const HOSTS: u64 = 1;
/// There are bans of IPv4 networks: the bit in the program's `active[V4]`.
pub(super) const V4_NETS: u64 = 2;

/// Sets the bits of a network's ban: its own /24, or all that it covers.
pub(super) fn set_v4(words: &[AtomicU64], ban: Ipv4Net) {
    let (first, last) = slots_v4(ban);
    for (word, bits) in words.iter().enumerate().take(last / 64 + 1).skip(first / 64) {
        bits.fetch_or(range_in_word(word, first, last), Ordering::Relaxed);
    }
}

/// Sets the bits under a network's ban that is gone to what the remaining bans want. Hosts among those want none here.
pub(super) fn recompute_v4(words: &[AtomicU64], gone: Ipv4Net, remaining: &BTreeSet<Ipv4Net>) {
    let area = Ipv4Net::new(gone.addr(), gone.prefix_len().min(24))
        .expect("at most 24")
        .trunc();
    let covered = (0..=area.prefix_len()).any(|length| {
        let wider = Ipv4Net::new(area.addr(), length).expect("at most 24").trunc();
        remaining.contains(&wider)
    });
    if covered {
        return;
    }
    let (first, last) = slots_v4(area);
    let start = first / 64;
    let mut wanted = vec![0_u64; last / 64 - start + 1];
    let from = Ipv4Net::new(area.network(), 0).expect("0 is a length");
    let to = Ipv4Net::new(area.broadcast(), 32).expect("32 is a length");
    for inside in remaining.range(from..=to).filter(|ban| ban.prefix_len() < 32) {
        let (first, last) = slots_v4(*inside);
        for word in first / 64..=last / 64 {
            wanted[word - start] |= range_in_word(word, first, last);
        }
    }
    for (wanted, word) in wanted.into_iter().zip(start..) {
        let mask = range_in_word(word, first, last);
        let others = words[word].load(Ordering::Relaxed) & !mask;
        words[word].store(others | wanted, Ordering::Relaxed);
    }
}

/// First and last /24 that a network touches.
fn slots_v4(network: Ipv4Net) -> (usize, usize) {
    let slot = |address| (u32::from(address) >> 8) as usize;
    (slot(network.network()), slot(network.broadcast()))
}

/// Those bits of a word that lie between two slots, both included.
fn range_in_word(word: usize, first: usize, last: usize) -> u64 {
    let from = first.max(word * 64) - word * 64;
    let to = last.min(word * 64 + 63) - word * 64;
    (u64::MAX >> (63 - (to - from))) << from
}

/// The odd multipliers that spread hosts and IPv6 networks over the bits. Random for each load, so that nobody can choose
/// source addresses that collide with a ban's bit on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multipliers {
    pub(super) from_64: u64,
    pub(super) from_48: u64,
    pub(super) from_32: u64,
    pub(super) host_high: u64,
    pub(super) host_low: u64,
}

impl Multipliers {
    /// The bit of a host, as the program's `host_hash` has it; an IPv4 address is the low half of nothing.
    pub(super) fn host_slot(&self, address: IpAddr) -> usize {
        let (high, low) = match address {
            IpAddr::V4(address) => (0, u64::from(u32::from(address))),
            IpAddr::V6(address) => ((u128::from(address) >> 64) as u64, u128::from(address) as u64),
        };
        let mixed = high.wrapping_mul(self.host_high);
        slot((mixed ^ mixed >> 32).wrapping_add(low).wrapping_mul(self.host_low))
    }
}

fn slot(hash: u64) -> usize {
    (hash >> (64 - HASHED_BITS)) as usize
}

/// How many bans stand behind each bit that is set.
#[derive(Debug, Default)]
pub(super) struct HashedBits {
    bans_behind: HashMap<usize, u32>,
}

impl HashedBits {
    /// Sets the bit of a ban that is new.
    pub(super) fn add(&mut self, words: &[AtomicU64], slot: usize) {
        *self.bans_behind.entry(slot).or_default() += 1;
        words[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
    }

    /// Clears the bit of a ban that was added, unless another ban needs it.
    pub(super) fn remove(&mut self, words: &[AtomicU64], slot: usize) {
        if decrement(&mut self.bans_behind, slot) {
            words[slot / 64].fetch_and(!(1 << (slot % 64)), Ordering::Relaxed);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bans_behind.is_empty()
    }
}

/// How the ban of an IPv6 network is found, by the length of its prefix. The values are the bits in the program's
/// `active[V6]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    From64 = 2,
    From48 = 4,
    From32 = 8,
    Short = 16,
}

impl Kind {
    const ALL: [Self; 4] = [Self::From64, Self::From48, Self::From32, Self::Short];

    fn of(ban: Ipv6Net) -> Self {
        match ban.prefix_len() {
            64.. => Self::From64,
            48.. => Self::From48,
            32.. => Self::From32,
            _ => Self::Short,
        }
    }
}

/// The bits of IPv6 networks, and how many bans there are of each kind.
#[derive(Debug)]
pub(super) struct NetsV6 {
    multipliers: Multipliers,
    bits: HashedBits,
    kinds: HashMap<Kind, u32>,
}

impl NetsV6 {
    pub(super) fn new(multipliers: Multipliers) -> Self {
        Self {
            multipliers,
            bits: HashedBits::default(),
            kinds: HashMap::new(),
        }
    }

    /// Sets the bit of a ban that is new.
    pub(super) fn add(&mut self, words: &[AtomicU64], ban: Ipv6Net) {
        *self.kinds.entry(Kind::of(ban)).or_default() += 1;
        if let Some(slot) = self.slot(ban) {
            self.bits.add(words, slot);
        }
    }

    /// Clears the bit of a ban that was added, unless another ban needs it.
    pub(super) fn remove(&mut self, words: &[AtomicU64], ban: Ipv6Net) {
        decrement(&mut self.kinds, Kind::of(ban));
        if let Some(slot) = self.slot(ban) {
            self.bits.remove(words, slot);
        }
    }

    /// The kinds that exist, as in the program's `active[V6]`.
    pub(super) fn active(&self) -> u64 {
        Kind::ALL
            .into_iter()
            .filter(|kind| self.kinds.contains_key(kind))
            .map(|kind| kind as u64)
            .sum()
    }

    fn slot(&self, ban: Ipv6Net) -> Option<usize> {
        let high = (u128::from(ban.network()) >> 64) as u64;
        let (key, multiplier) = match Kind::of(ban) {
            Kind::From64 => (high, self.multipliers.from_64),
            Kind::From48 => (high >> 16 << 16, self.multipliers.from_48),
            Kind::From32 => (high >> 32 << 32, self.multipliers.from_32),
            Kind::Short => return None,
        };
        Some(slot(key.wrapping_mul(multiplier)))
    }
}

/// Takes one away; true when none is left.
fn decrement<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K) -> bool {
    let Some(count) = counts.get_mut(&key) else { return false };
    *count -= 1;
    let none = *count == 0;
    if none {
        counts.remove(&key);
    }
    none
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// A small generator with a fixed seed (xorshift64*), so that a failure can be run again.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }
        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }
    }

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    fn bit(words: &[AtomicU64], slot: usize) -> bool {
        words[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1
    }

    #[test]
    fn range_in_word_is_inclusive_and_clamped() {
        for (word, first, last, expected) in [
            (0, 0, 0, 1),
            (0, 63, 63, 1 << 63),
            (0, 0, 63, u64::MAX),
            (1, 0, 200, u64::MAX),
            (1, 65, 66, 0b110),
            (0, 60, 200, 0b1111 << 60),
            (3, 60, 193, 0b11),
        ] {
            assert_eq!(range_in_word(word, first, last), expected, "word {word}, {first}..={last}");
        }
    }

    #[test]
    fn v4_bits_are_those_of_the_bans_that_stand() {
        let mut random = Random(0x5eed);
        let words = words(V4_WORDS);
        let mut bans: BTreeSet<Ipv4Net> = BTreeSet::new();
        for step in 0..3_000 {
            if bans.len() > 12 || (!bans.is_empty() && random.below(3) == 0) {
                let index = random.below(bans.len() as u64) as usize;
                let gone = *bans.iter().nth(index).unwrap();
                bans.remove(&gone);
                if gone.prefix_len() < 32 {
                    recompute_v4(&words, gone, &bans);
                }
            } else {
                // Within 10.0.0.0/12, so that bans overlap; now and then something huge.
                let length = if step % 50 == 0 {
                    random.below(12)
                } else {
                    12 + random.below(21)
                } as u8;
                let address = Ipv4Addr::from(0x0a00_0000 | random.below(1 << 20) as u32);
                let ban = Ipv4Net::new(address, length).unwrap().trunc();
                bans.insert(ban);
                if length < 32 {
                    set_v4(&words, ban);
                }
            }
            // Every /24 of the area, and some elsewhere.
            let near = (0x0a_0000..0x0a_1000).step_by(if step % 100 == 0 { 1 } else { 7 });
            let far: Vec<usize> = (0..50).map(|_| random.below(1 << 24) as usize).collect();
            for slot in near.chain(far) {
                let network = Ipv4Net::new(Ipv4Addr::from((slot as u32) << 8), 24).unwrap();
                let expected = bans
                    .iter()
                    .any(|ban| ban.prefix_len() < 32 && (ban.contains(&network) || network.contains(ban)));
                assert_eq!(bit(&words, slot), expected, "step {step}, {network}, bans {bans:?}");
            }
        }
    }

    #[test]
    fn v4_everything_banned_and_unbanned() {
        let words = words(V4_WORDS);
        let all: Ipv4Net = "0.0.0.0/0".parse().unwrap();
        let one: Ipv4Net = "255.255.255.254/31".parse().unwrap();
        set_v4(&words, all);
        set_v4(&words, one);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == u64::MAX));
        recompute_v4(&words, all, &BTreeSet::from([one]));
        let set: u32 = words.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        assert_eq!(set, 1);
        assert!(bit(&words, (1 << 24) - 1));
        recompute_v4(&words, one, &BTreeSet::new());
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn v6_a_bit_stands_as_long_as_a_network_needs_it() {
        let mut random = Random(0x6eed);
        let words = words(HASHED_WORDS);
        let multipliers = Multipliers {
            from_64: random.next() | 1,
            from_48: random.next() | 1,
            from_32: random.next() | 1,
            host_high: random.next() | 1,
            host_low: random.next() | 1,
        };
        let mut prefilter = NetsV6::new(multipliers);
        let mut bans: BTreeSet<Ipv6Net> = BTreeSet::new();
        for _ in 0..3_000 {
            if bans.len() > 12 || (!bans.is_empty() && random.below(3) == 0) {
                let index = random.below(bans.len() as u64) as usize;
                let gone = *bans.iter().nth(index).unwrap();
                bans.remove(&gone);
                prefilter.remove(&words, gone);
            } else {
                let address = u128::from(0xfd00_0000_0000_0000 | random.below(4) << 8 | random.below(4) << 20) << 64;
                let length = random.below(128) as u8;
                let ban = Ipv6Net::new(Ipv6Addr::from(address), length).unwrap().trunc();
                if bans.insert(ban) {
                    prefilter.add(&words, ban);
                }
            }
            let expected: BTreeSet<usize> = bans.iter().filter_map(|ban| prefilter.slot(*ban)).collect();
            let set: u32 = words.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
            assert_eq!(set as usize, expected.len());
            assert!(expected.iter().all(|slot| bit(&words, *slot)));
            let kinds = bans.iter().map(|ban| Kind::of(*ban) as u64).fold(0, |all, kind| all | kind);
            assert_eq!(prefilter.active(), kinds);
        }
    }

    #[test]
    fn hosts_of_one_network_have_bits_of_their_own() {
        let mut random = Random(0x7eed);
        let words = words(HASHED_WORDS);
        for addresses in [
            (0..4_096_u32)
                .map(|host| Ipv4Addr::from(0xc0a8_0000 | host).into())
                .collect::<Vec<IpAddr>>(),
            (0..4_096_u128)
                .map(|host| Ipv6Addr::from(0xfd00_u128 << 112 | host).into())
                .collect(),
            // Addresses that differ in few high bits of both halves, which a plain sum of products lets collide.
            (0..4_096_u128)
                .map(|bits| Ipv6Addr::from((bits >> 6) << 122 | (bits & 63) << 58).into())
                .collect(),
        ] {
            let multipliers = Multipliers {
                from_64: 1,
                from_48: 1,
                from_32: 1,
                host_high: random.next() | 1,
                host_low: random.next() | 1,
            };
            let mut bits = HashedBits::default();
            for address in &addresses {
                bits.add(&words, multipliers.host_slot(*address));
            }
            let set: u32 = words.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
            // Were the bits chosen by lot, two of 4,096 addresses would share one of 2^22 twice.
            assert!(set > 4_000, "{set} bits for {} addresses", addresses.len());
            for address in &addresses {
                assert!(bit(&words, multipliers.host_slot(*address)));
            }
            for address in &addresses {
                bits.remove(&words, multipliers.host_slot(*address));
            }
            assert!(bits.is_empty());
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        }
    }
}
