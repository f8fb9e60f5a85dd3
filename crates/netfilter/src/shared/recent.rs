//! Lists of addresses seen lately (`xt_recent.c`).

use std::collections::{BTreeMap, HashMap};

use fielato_wire::{Addr, Family};

use super::MAX_NAMES;

/// Entries of a list (`ip_list_tot`): beyond, the one unused longest makes room.
pub const MAX_ENTRIES: usize = 100;

/// When an address was seen: the last so many times, overwritten in a ring.
#[derive(Clone, Debug)]
pub struct Entry {
    /// TTL of the packet that set it last.
    pub ttl: u8,
    stamps: Vec<u64>,
    next: usize,
    used: u64,
}

impl Entry {
    /// When it was seen, in nanoseconds of [`crate::Now::mono`], in no order.
    pub fn stamps(&self) -> &[u64] {
        &self.stamps
    }
}

type Key = (Family, Addr);

/// One list.
#[derive(Debug)]
pub struct List {
    entries: HashMap<Key, Entry>,
    /// The key of each moment of use: the first is the entry unused longest.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    depth: usize,
}

impl List {
    fn new(depth: usize) -> List {
        List {
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            depth,
        }
    }

    /// The entry of an address; with a TTL other than 0 only one of that TTL, or of none.
    pub fn get(&self, family: Family, address: Addr, ttl: u8) -> Option<&Entry> {
        let entry = self.entries.get(&(family, address))?;
        (ttl == 0 || entry.ttl == 0 || entry.ttl == ttl).then_some(entry)
    }

    /// Notes that an address is seen now.
    pub fn touch(&mut self, family: Family, address: Addr, ttl: u8, now: u64) {
        let key = (family, address);
        if !self.entries.contains_key(&key)
            && self.entries.len() >= MAX_ENTRIES
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        let (uses, depth) = (self.uses, self.depth);
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            ttl,
            stamps: Vec::new(),
            next: 0,
            used: uses,
        });
        self.by_use.remove(&entry.used);
        self.by_use.insert(uses, key);
        (entry.used, entry.ttl) = (uses, ttl);
        entry.next %= depth;
        match entry.stamps.get_mut(entry.next) {
            Some(stamp) => *stamp = now,
            None => entry.stamps.push(now),
        }
        entry.next += 1;
    }

    /// Forgets an address; answers whether it was there.
    pub fn remove(&mut self, family: Family, address: Addr) -> bool {
        match self.entries.remove(&(family, address)) {
            Some(entry) => self.by_use.remove(&entry.used).is_some(),
            None => false,
        }
    }

    /// Forgets the entry unused longest when it was last seen before `time` (`--reap`).
    pub fn reap(&mut self, time: u64) {
        let Some((_, &key)) = self.by_use.first_key_value() else {
            return;
        };
        let last = self
            .entries
            .get(&key)
            .and_then(|entry| entry.stamps.get(entry.next.wrapping_sub(1)));
        if last.is_some_and(|&last| last < time) {
            self.remove(key.0, key.1);
        }
    }

    /// Forgets all.
    pub fn flush(&mut self) {
        self.entries.clear();
        self.by_use.clear();
    }

    /// The addresses in it.
    pub fn addresses(&self) -> impl Iterator<Item = (Family, Addr, &Entry)> {
        self.entries
            .iter()
            .map(|(&(family, address), entry)| (family, address, entry))
    }
}

/// All lists by name.
#[derive(Debug, Default)]
pub struct Lists(HashMap<Box<str>, List>);

impl Lists {
    /// The list of this name, made when first asked for, deep enough for `hits`; `None` when there are too many lists.
    pub fn list(&mut self, name: &str, hits: u32) -> Option<&mut List> {
        // As the kernel: room for the hits asked for, rounded up to a power of two; 32 when none are.
        let depth = match hits {
            0 => 32,
            hits => hits.clamp(1, 65_536).next_power_of_two() as usize,
        };
        if !self.0.contains_key(name) {
            if self.0.len() >= MAX_NAMES {
                return None;
            }
            self.0.insert(name.into(), List::new(depth));
        }
        let list = self.0.get_mut(name)?;
        if depth > list.depth {
            list.flush();
            list.depth = depth;
        }
        Some(list)
    }

    /// The list of this name, if a packet met a rule that names it (what /proc/net/xt_recent shows).
    pub fn get(&self, name: &str) -> Option<&List> {
        self.0.get(name)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut List> {
        self.0.get_mut(name)
    }
}
