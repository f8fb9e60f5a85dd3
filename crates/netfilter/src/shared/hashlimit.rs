//! Tables of rates, one entry per flow as the rule groups them (`xt_hashlimit.c`).

use std::collections::HashMap;

use fielato_wire::{Addr, Family};

use super::MAX_NAMES;
use crate::Now;

/// What a table was made with: the parameters of the first rule that used its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Grouped by source address.
    pub by_source: bool,
    /// Grouped by destination address.
    pub by_destination: bool,
    /// Grouped by source port.
    pub by_source_port: bool,
    /// Grouped by destination port.
    pub by_destination_port: bool,
    /// Bytes are counted, not packets.
    pub bytes: bool,
    /// `--hashlimit-rate-match`: the rate is compared, not limited.
    pub rate_match: bool,
    /// Packets: microseconds per packet. Bytes: 2^32 divided by the rate in units of 16 bytes per second.
    pub average: u64,
    /// Packets at once; for bytes, how often the credit is filled up beyond.
    pub burst: u64,
    /// Buckets of the kernel's hash table; 0 for its own choice. Bounds the entries, together with `max`.
    pub size: u32,
    /// Entries; 0 for eight per bucket.
    pub max: u32,
    /// Milliseconds between the removals of idle entries. Here they are removed a few with each packet.
    pub gc_interval: u32,
    /// Milliseconds after which an idle entry is removed.
    pub expire: u32,
    /// Prefix length of source addresses.
    pub source_mask: u8,
    /// Prefix length of destination addresses.
    pub destination_mask: u8,
    /// Seconds of `--hashlimit-rate-match`.
    pub interval: u32,
}

impl Config {
    fn max_entries(&self) -> usize {
        // The kernel's choice on a machine with more than 1 GB.
        let size = if self.size == 0 { 8192 } else { self.size };
        let max = if self.max == 0 {
            size.saturating_mul(8)
        } else {
            self.max.max(size)
        };
        max.min(1 << 20) as usize
    }

    /// Nanoseconds of credit that a packet, or 16 bytes, cost.
    pub(crate) fn cost(&self) -> u64 {
        if self.bytes {
            ((u128::from(self.average) * u128::from(Now::SECOND)) >> 32) as u64
        } else {
            self.average.saturating_mul(1000)
        }
    }

    /// Packets or bytes in an interval of `--hashlimit-rate-match`.
    fn rate(&self) -> u64 {
        match (self.bytes, self.average) {
            (false, average) => 1_000_000u64.checked_div(average).unwrap_or(0),
            (true, average) => {
                let rate = u64::from(u32::MAX).checked_div(average).unwrap_or(u64::from(u32::MAX));
                rate.saturating_sub(1) << 4
            }
        }
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Source, or zero.
    pub src: Addr,
    /// Destination, or zero.
    pub dst: Addr,
    /// Source port, or zero.
    pub sport: u16,
    /// Destination port, or zero.
    pub dport: u16,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    expires: u64,
    last: u64,
    /// Nanoseconds.
    credit: u64,
    /// Largest credit; for bytes, refills left.
    cap: u64,
    /// `--hashlimit-rate-match`: counted in this interval, and whether the last one was over the rate.
    counted: u64,
    over: bool,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    config: Config,
    places: HashMap<Key, usize>,
    entries: Vec<Entry>,
    hand: usize,
}

impl Table {
    fn new(config: Config) -> Table {
        Table {
            config,
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    /// What it was made with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts a packet of `len` bytes; whether it is under the limit, or `None` when the table is full.
    pub(crate) fn count(&mut self, key: Key, len: usize, now: u64) -> Option<bool> {
        self.sweep(now);
        let config = self.config;
        let expires = now.saturating_add(u64::from(config.expire) * 1_000_000);
        let place = match self.places.get(&key) {
            Some(&place) => place,
            None => self.insert(key, now)?,
        };
        let entry = self.entries.get_mut(place)?;
        entry.expires = expires;
        entry.refill(&config, now);
        if config.rate_match {
            entry.counted = entry.counted.saturating_add(if config.bytes { len as u64 } else { 1 });
            return Some(!entry.over && entry.counted <= config.rate());
        }
        let cost = if config.bytes {
            let chunks = (len as u64 >> 4) + 1;
            let cost = chunks.saturating_mul(config.cost()).min(Now::SECOND);
            if entry.credit < cost && entry.cap != 0 {
                entry.cap -= 1;
                entry.credit = Now::SECOND;
            }
            cost
        } else {
            config.cost()
        };
        let under = entry.credit >= cost;
        if under {
            entry.credit -= cost;
        }
        Some(under)
    }

    fn insert(&mut self, key: Key, now: u64) -> Option<usize> {
        let config = &self.config;
        if self.entries.len() >= config.max_entries() {
            return None;
        }
        let (credit, cap) = if config.bytes {
            (Now::SECOND, config.burst)
        } else {
            let full = config.cost().saturating_mul(config.burst);
            (full, full)
        };
        let place = self.entries.len();
        self.entries.push(Entry {
            key,
            expires: 0,
            last: now,
            credit,
            cap,
            counted: 0,
            over: false,
        });
        self.places.insert(key, place);
        Some(place)
    }

    /// Removes expired entries among the next two.
    fn sweep(&mut self, now: u64) {
        for _ in 0..2 {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            match self.entries.get(self.hand) {
                Some(entry) if entry.expires < now => {
                    let gone = self.entries.swap_remove(self.hand);
                    self.places.remove(&gone.key);
                    if let Some(moved) = self.entries.get(self.hand) {
                        self.places.insert(moved.key, self.hand);
                    }
                }
                Some(_) => self.hand += 1,
                None => return,
            }
        }
    }
}

impl Entry {
    fn refill(&mut self, config: &Config, now: u64) {
        let passed = now.saturating_sub(self.last);
        if config.rate_match {
            let interval = u64::from(config.interval) * Now::SECOND;
            if passed < interval || passed == 0 {
                return;
            }
            self.last = now;
            self.over = u128::from(self.counted) * u128::from(interval) > u128::from(passed) * u128::from(config.rate());
            self.counted = 0;
            return;
        }
        self.last = now;
        let cap = if config.bytes { Now::SECOND } else { self.cap };
        self.credit = self.credit.saturating_add(passed).min(cap);
    }
}

/// All tables by family and name.
#[derive(Debug, Default)]
pub struct Tables([HashMap<Box<str>, Table>; 2]);

impl Tables {
    /// The table of this name, made with `config` when first asked for; `None` when there are too many.
    pub(crate) fn table(&mut self, family: Family, name: &str, config: &Config) -> Option<&mut Table> {
        let [v4, v6] = &mut self.0;
        let tables = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        if !tables.contains_key(name) {
            if tables.len() >= MAX_NAMES {
                return None;
            }
            tables.insert(name.into(), Table::new(*config));
        }
        tables.get_mut(name)
    }

    /// The table of this name, if a packet met a rule that names it (what /proc/net/ipt_hashlimit shows).
    pub fn get(&self, family: Family, name: &str) -> Option<&Table> {
        self.0.get(family as usize)?.get(name)
    }
}
