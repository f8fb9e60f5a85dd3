//! What each source sent: a table of bounded size, from which the least recently seen goes when another comes.

use std::collections::HashMap;

use fielato_netfilter::Now;
use fielato_wire::{Addr, Family};

use super::keyed::Keyed;
use super::{Limit, SourceCount};

/// No entry.
const NONE: u32 = u32::MAX;

/// A source, in a list from the latest seen to the least recently seen.
#[derive(Debug, Clone, Copy)]
struct Source {
    address: Addr,
    packets: u64,
    bytes: u64,
    limited: u64,
    /// When its bucket will be empty again, in nanoseconds (GCRA's theoretical arrival time).
    empty_at: u64,
    newer: u32,
    older: u32,
}

/// The rate limit in the terms of the generic cell rate algorithm (ITU-T I.371): one number for each source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gcra {
    /// Nanoseconds that a packet costs.
    cost: u64,
    /// Nanoseconds that a source may be ahead of its rate.
    ahead: u64,
}

impl From<Limit> for Gcra {
    fn from(Limit { rate, burst }: Limit) -> Gcra {
        let cost = Now::SECOND / rate.clamp(1, Now::SECOND);
        Gcra {
            cost,
            ahead: cost.saturating_mul(burst.max(1) - 1),
        }
    }
}

#[derive(Debug)]
pub(super) struct Sources {
    index: HashMap<Addr, u32, Keyed>,
    entries: Vec<Source>,
    newest: u32,
    oldest: u32,
    limit: usize,
}

impl Sources {
    pub(super) fn new(limit: u32, seed: u64) -> Sources {
        Sources {
            index: HashMap::with_hasher(Keyed::new(seed)),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            limit: limit.max(1) as usize,
        }
    }

    /// Another size; the least recently seen go when it is less.
    pub(super) fn resize(&mut self, limit: u32) {
        self.limit = limit.max(1) as usize;
        if self.entries.len() <= self.limit {
            return;
        }
        let mut kept = Vec::with_capacity(self.limit);
        let mut at = self.newest;
        while let Some(source) = self.entries.get(at as usize)
            && kept.len() < self.limit
        {
            kept.push(*source);
            at = source.older;
        }
        self.index.clear();
        self.entries.clear();
        (self.newest, self.oldest) = (NONE, NONE);
        for source in kept.into_iter().rev() {
            self.insert(source);
        }
    }

    /// Counts a packet, and says whether it is within the limit.
    #[inline]
    pub(super) fn count(&mut self, address: Addr, bytes: u64, limit: Option<Gcra>, now: u64) -> bool {
        let place = match self.index.get(&address) {
            Some(&place) => {
                self.move_to_front(place);
                place
            }
            None => self.insert(Source {
                address,
                packets: 0,
                bytes: 0,
                limited: 0,
                empty_at: 0,
                newer: NONE,
                older: NONE,
            }),
        };
        let Some(source) = self.entries.get_mut(place as usize) else {
            return true;
        };
        if let Some(Gcra { cost, ahead }) = limit {
            let empty_at = source.empty_at.max(now);
            if empty_at - now > ahead {
                source.limited += 1;
                return false;
            }
            source.empty_at = empty_at.saturating_add(cost);
        }
        source.packets += 1;
        source.bytes += bytes;
        true
    }

    pub(super) fn list(&self, family: Family) -> impl Iterator<Item = SourceCount> + '_ {
        self.entries.iter().map(move |source| SourceCount {
            address: source.address.to_ip(family),
            packets: source.packets,
            bytes: source.bytes,
            limited: source.limited,
        })
    }

    /// Enters a source as the latest seen, in the place of the least recently seen when the table is full.
    fn insert(&mut self, source: Source) -> u32 {
        let place = if self.entries.len() < self.limit {
            self.entries.push(source);
            (self.entries.len() - 1) as u32
        } else {
            let place = self.oldest;
            self.unlink(place);
            if let Some(entry) = self.entries.get_mut(place as usize) {
                self.index.remove(&entry.address);
                *entry = source;
            }
            place
        };
        self.index.insert(source.address, place);
        self.link(place);
        place
    }

    fn move_to_front(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(&Source { newer, older, .. }) = self.entries.get(place as usize) else {
            return;
        };
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let older = self.newest;
        if let Some(entry) = self.entries.get_mut(place as usize) {
            (entry.newer, entry.older) = (NONE, older);
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }
}
