//! Sets of addresses, networks and ports (what `ipset` makes), for `-m set` and `-j SET`.
//!
//! One kind of set serves all of ipset's: a list of dimensions. Networks are looked up by each prefix length in use, longest
//! first, so that a lookup costs as many probes as there are lengths.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fielato_wire::{Addr, Family};

use crate::{Counters, InterfaceName};

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// One address.
    Ip,
    /// A network.
    Net,
    /// Protocol and port.
    Port,
    /// A MAC address.
    Mac,
    /// An interface.
    Interface,
    /// A mark.
    Mark,
}

/// The value of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// An address, or a network with its prefix length.
    Addr(Addr, u8),
    /// Protocol and port (for ICMP `type << 8 | code`).
    Port(u8, u16),
    /// MAC address.
    Mac([u8; 6]),
    /// Interface.
    Interface(InterfaceName),
    /// Mark.
    Mark(u32),
}

/// Most dimensions of a set.
pub const MAX_DIMENSIONS: usize = 3;
/// Most sets.
pub const MAX_SETS: usize = 4096;

type Key = [Option<Part>; MAX_DIMENSIONS];

/// What an entry carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// When it ends, in nanoseconds of [`crate::Now::mono`]; 0 for never.
    pub expires: u64,
    /// What lies in this network does not belong to the set (`nomatch`).
    pub excluded: bool,
    /// What matched it.
    pub counters: Counters,
}

/// How a set is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its dimensions, one to three.
    pub dimensions: Vec<Dimension>,
    /// Family of its addresses.
    pub family: Family,
    /// Most entries (`maxelem`).
    pub max: usize,
    /// Seconds that an entry lives when nothing is said; 0 for ever.
    pub timeout: u32,
    /// Entries count (`counters`).
    pub counters: bool,
}

impl Kind {
    /// The kind that ipset calls `hash:ip`, `hash:net,port` and so on; `bitmap:ip` and `bitmap:port` are the same here.
    pub fn from_name(name: &str, family: Family) -> Option<Kind> {
        let parts = name.strip_prefix("hash:").or_else(|| name.strip_prefix("bitmap:"))?;
        let dimension = |part| {
            Some(match part {
                "ip" => Dimension::Ip,
                "net" => Dimension::Net,
                "port" => Dimension::Port,
                "mac" => Dimension::Mac,
                "iface" => Dimension::Interface,
                "mark" => Dimension::Mark,
                _ => return None,
            })
        };
        let dimensions: Vec<_> = parts.split(',').map(dimension).collect::<Option<_>>()?;
        (dimensions.len() <= MAX_DIMENSIONS).then_some(Kind {
            dimensions,
            family,
            max: 65_536,
            timeout: 0,
            counters: false,
        })
    }
}

/// Why a set can't be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No set of this name.
    #[error("there is no set of this name")]
    NoSet,
    /// The name is taken.
    #[error("a set of this name exists")]
    Exists,
    /// [`MAX_SETS`] or the set's `max`.
    #[error("no room: remove something, or make the set larger (maxelem)")]
    Full,
    /// Other parts than the set's dimensions.
    #[error("the entry has other parts than the set")]
    Mismatch,
    /// A name of 1 to 31 bytes is needed.
    #[error("a set's name has 1 to 31 bytes")]
    Name,
}

/// A set.
#[derive(Debug)]
pub struct Set {
    kind: Kind,
    entries: HashMap<Key, Entry>,
    /// For each dimension of networks, the prefix lengths in use and how often.
    lengths: [BTreeMap<u8, usize>; MAX_DIMENSIONS],
    /// Ends and the entries that end then.
    ends: BTreeSet<(u64, u64)>,
    end_keys: HashMap<u64, Key>,
    serial: u64,
}

impl Set {
    fn new(kind: Kind) -> Set {
        Set {
            kind,
            entries: HashMap::new(),
            lengths: Default::default(),
            ends: BTreeSet::new(),
            end_keys: HashMap::new(),
            serial: 0,
        }
    }

    /// How it was made.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Entries, expired ones that were not yet removed among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<Part>, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.iter().flatten().copied().collect(), entry))
    }

    /// The parts as a key, networks masked; `None` when they are not the set's dimensions.
    fn key(&self, parts: &[Part]) -> Option<Key> {
        if parts.len() != self.kind.dimensions.len() {
            return None;
        }
        let family = self.kind.family;
        let mut key: Key = [None; MAX_DIMENSIONS];
        for ((place, part), dimension) in key.iter_mut().zip(parts).zip(&self.kind.dimensions) {
            *place = Some(match (dimension, *part) {
                (Dimension::Net, Part::Addr(address, length)) if length <= family.bits() => {
                    Part::Addr(address.and(Addr::mask(family, length)), length)
                }
                (Dimension::Ip, Part::Addr(address, _)) => Part::Addr(address, family.bits()),
                (Dimension::Port, part @ Part::Port(..))
                | (Dimension::Mac, part @ Part::Mac(_))
                | (Dimension::Interface, part @ Part::Interface(_))
                | (Dimension::Mark, part @ Part::Mark(_)) => part,
                _ => return None,
            });
        }
        Some(key)
    }

    /// Adds an entry, or renews the one that is there. `timeout` in seconds takes the place of the set's.
    pub fn add(&mut self, parts: &[Part], timeout: Option<u32>, excluded: bool, now: u64) -> Result<(), SetError> {
        let key = self.key(parts).ok_or(SetError::Mismatch)?;
        self.expire(now);
        let seconds = timeout.unwrap_or(self.kind.timeout);
        let expires = match seconds {
            0 => 0,
            seconds => now.saturating_add(u64::from(seconds) * crate::Now::SECOND),
        };
        let counters = match self.entries.get(&key) {
            Some(entry) => entry.counters,
            None if self.entries.len() >= self.kind.max => return Err(SetError::Full),
            None => {
                self.count_lengths(&key, true);
                Counters::default()
            }
        };
        self.entries.insert(
            key,
            Entry {
                expires,
                excluded,
                counters,
            },
        );
        if expires != 0 {
            self.serial += 1;
            self.ends.insert((expires, self.serial));
            self.end_keys.insert(self.serial, key);
        }
        Ok(())
    }

    /// Removes an entry; answers whether it was there.
    pub fn remove(&mut self, parts: &[Part]) -> bool {
        self.key(parts).is_some_and(|key| self.remove_key(&key))
    }

    fn remove_key(&mut self, key: &Key) -> bool {
        let there = self.entries.remove(key).is_some();
        if there {
            self.count_lengths(key, false);
        }
        there
    }

    /// Removes all.
    pub fn flush(&mut self) {
        self.entries.clear();
        self.lengths = Default::default();
        self.ends.clear();
        self.end_keys.clear();
    }

    fn count_lengths(&mut self, key: &Key, more: bool) {
        for ((part, dimension), lengths) in key.iter().flatten().zip(&self.kind.dimensions).zip(&mut self.lengths) {
            let (Dimension::Net, Part::Addr(_, length)) = (dimension, part) else {
                continue;
            };
            let uses = lengths.entry(*length).or_insert(0);
            *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
            if *uses == 0 {
                lengths.remove(length);
            }
        }
    }

    /// Removes a few of those that have ended.
    fn expire(&mut self, now: u64) {
        for _ in 0..4 {
            let Some(&(end, serial)) = self.ends.first().filter(|(end, _)| *end <= now) else {
                return;
            };
            self.ends.remove(&(end, serial));
            // A renewed entry has another end by now.
            if let Some(key) = self.end_keys.remove(&serial)
                && self.entries.get(&key).is_some_and(|entry| entry.expires == end)
            {
                self.remove_key(&key);
            }
        }
    }

    /// The entry that holds these parts, a packet's: addresses are whole. The longest networks win.
    pub fn lookup(&mut self, parts: &[Part], now: u64) -> Option<&mut Entry> {
        self.expire(now);
        if parts.len() != self.kind.dimensions.len() {
            return None;
        }
        let mut found = None;
        'search: for a in self.probed_lengths(0) {
            for b in self.probed_lengths(1) {
                for c in self.probed_lengths(2) {
                    let key = self.probe(parts, [a, b, c])?;
                    if self.entries.get(&key).is_some_and(|e| e.expires == 0 || e.expires > now) {
                        found = Some(key);
                        break 'search;
                    }
                }
            }
        }
        self.entries.get_mut(&found?)
    }

    /// The entry of exactly these parts, networks with their lengths.
    pub fn lookup_exact(&self, parts: &[Part], now: u64) -> Option<&Entry> {
        let entry = self.entries.get(&self.key(parts)?)?;
        (entry.expires == 0 || entry.expires > now).then_some(entry)
    }

    /// The prefix lengths to try in a dimension, longest first: of networks those in use, else one that stands for the whole.
    fn probed_lengths(&self, place: usize) -> impl Iterator<Item = u8> {
        let fixed = match self.kind.dimensions.get(place) {
            Some(Dimension::Net) => None,
            Some(_) => Some(self.kind.family.bits()),
            None => Some(0),
        };
        let in_use = self.lengths.get(place).into_iter().flat_map(|lengths| lengths.keys().rev());
        in_use.copied().chain(fixed)
    }

    fn probe(&self, parts: &[Part], lengths: [u8; MAX_DIMENSIONS]) -> Option<Key> {
        let mut probe = [Part::Mark(0); MAX_DIMENSIONS];
        let places = probe.get_mut(..parts.len())?;
        for ((place, part), length) in places.iter_mut().zip(parts).zip(lengths) {
            *place = match *part {
                Part::Addr(address, _) => Part::Addr(address, length),
                other => other,
            };
        }
        self.key(places)
    }
}

/// All sets by name.
#[derive(Debug, Default)]
pub struct Sets(BTreeMap<Box<str>, Set>);

impl Sets {
    /// Makes an empty set.
    pub fn create(&mut self, name: &str, kind: Kind) -> Result<(), SetError> {
        if name.is_empty() || name.len() > 31 {
            return Err(SetError::Name);
        }
        if self.0.contains_key(name) {
            return Err(SetError::Exists);
        }
        if self.0.len() >= MAX_SETS {
            return Err(SetError::Full);
        }
        if kind.dimensions.is_empty() || kind.dimensions.len() > MAX_DIMENSIONS {
            return Err(SetError::Mismatch);
        }
        self.0.insert(name.into(), Set::new(kind));
        Ok(())
    }

    /// Moves every set of `other` here, in the place of what has its name.
    pub fn take_all(&mut self, other: Sets) {
        self.0.extend(other.0);
    }

    /// Removes a set. Rules that name it hold for nothing then.
    pub fn destroy(&mut self, name: &str) -> Result<(), SetError> {
        self.0.remove(name).map(drop).ok_or(SetError::NoSet)
    }

    /// Exchanges the contents of two sets at once (`ipset swap`).
    pub fn swap(&mut self, one: &str, other: &str) -> Result<(), SetError> {
        if !self.0.contains_key(one) || !self.0.contains_key(other) {
            return Err(SetError::NoSet);
        }
        if let Some((name, first)) = self.0.remove_entry(one) {
            let second = match self.0.get_mut(other) {
                Some(second) => std::mem::replace(second, first),
                // The same set twice.
                None => first,
            };
            self.0.insert(name, second);
        }
        Ok(())
    }

    /// The set of this name.
    pub fn get(&self, name: &str) -> Option<&Set> {
        self.0.get(name)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Set> {
        self.0.get_mut(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Set)> {
        self.0.iter().map(|(name, set)| (&**name, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Now;
    use std::net::IpAddr;

    fn net(text: &str) -> Part {
        let (address, length) = text.split_once('/').unwrap();
        Part::Addr(address.parse::<IpAddr>().unwrap().into(), length.parse().unwrap())
    }

    #[test]
    fn the_longest_network_decides() {
        for (family, wide, narrow, inside, outside) in [
            (Family::V4, "10.0.0.0/8", "10.1.0.0/16", "10.2.3.4/32", "10.1.2.3/32"),
            (
                Family::V6,
                "2001:db8::/32",
                "2001:db8:1::/48",
                "2001:db8:2::1/128",
                "2001:db8:1::1/128",
            ),
        ] {
            let mut sets = Sets::default();
            sets.create("s", Kind::from_name("hash:net", family).unwrap()).unwrap();
            let set = sets.get_mut("s").unwrap();
            set.add(&[net(wide)], None, false, 0).unwrap();
            set.add(&[net(narrow)], None, true, 0).unwrap();
            assert!(!set.lookup(&[net(inside)], 0).unwrap().excluded);
            assert!(set.lookup(&[net(outside)], 0).unwrap().excluded);
            assert!(set.remove(&[net(narrow)]));
            assert!(!set.lookup(&[net(outside)], 0).unwrap().excluded);
            assert!(set.remove(&[net(wide)]) && set.lookup(&[net(inside)], 0).is_none());
        }
    }

    #[test]
    fn entries_end_and_sets_are_bounded() {
        let mut kind = Kind::from_name("hash:ip,port", Family::V4).unwrap();
        kind.max = 2;
        let mut sets = Sets::default();
        sets.create("s", kind.clone()).unwrap();
        assert_eq!(sets.create("s", kind), Err(SetError::Exists));
        let set = sets.get_mut("s").unwrap();
        let entry = |port| [net("10.0.0.1/32"), Part::Port(6, port)];
        set.add(&entry(80), Some(10), false, 0).unwrap();
        set.add(&entry(81), None, false, 0).unwrap();
        assert_eq!(set.add(&entry(82), None, false, 0), Err(SetError::Full));
        assert_eq!(set.add(&entry(1)[..1], None, false, 0), Err(SetError::Mismatch));
        assert!(set.lookup(&entry(80), 9 * Now::SECOND).is_some());
        // Renewed, it lives on beyond its first end.
        set.add(&entry(80), Some(10), false, 5 * Now::SECOND).unwrap();
        assert!(set.lookup(&entry(80), 12 * Now::SECOND).is_some());
        assert!(set.lookup(&entry(80), 15 * Now::SECOND).is_none());
        set.add(&entry(82), None, false, 16 * Now::SECOND).unwrap();
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn swaps() {
        let mut sets = Sets::default();
        for (name, address) in [("a", "10.0.0.1/32"), ("b", "10.0.0.2/32")] {
            sets.create(name, Kind::from_name("hash:ip", Family::V4).unwrap()).unwrap();
            sets.get_mut(name).unwrap().add(&[net(address)], None, false, 0).unwrap();
        }
        sets.swap("a", "b").unwrap();
        assert!(sets.get_mut("a").unwrap().lookup(&[net("10.0.0.2/32")], 0).is_some());
        sets.swap("a", "a").unwrap();
        assert!(sets.get_mut("a").unwrap().lookup(&[net("10.0.0.2/32")], 0).is_some());
        assert_eq!(sets.swap("a", "c"), Err(SetError::NoSet));
    }
}
