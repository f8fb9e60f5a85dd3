//! Where connections live: chunks that never move, places that are used again, and lists threaded through the entries.

use std::num::NonZeroU32;

use super::{Conn, ConnId, HashKeys};

/// No entry.
pub(super) const NIL: u32 = u32::MAX;
/// In place of a neighbour: the entry is not on the list.
const OUTSIDE: u32 = u32::MAX - 1;
const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A free place.
    Free,
    /// Known to its packet alone.
    Unconfirmed,
    /// In the table.
    Confirmed,
}

/// A connection with what the table knows about it. It begins with a cache line, and what every packet needs stands first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) generation: NonZeroU32,
    /// Changes that listeners have not been told of.
    pub(super) pending: u16,
    pub(super) phase: Phase,
    pub(super) in_age_list: bool,
    pub(super) conn: Conn,
    /// Neighbours in the list of connections that are not ASSURED; of a free place, `next` is the next free one. Of an
    /// unconfirmed connection both together are the moment it was made.
    previous: u32,
    next: u32,
    /// Neighbours in the list of connections whose source is hashed alike; [`OUTSIDE`] of a connection that is on none.
    source_previous: u32,
    pub(super) source_next: u32,
}

/// The goal is 320 bytes for a connection with its two places in the index, which is at most three quarters full.
const _: () = assert!(size_of::<Entry>() <= 256);

impl Entry {
    /// The moment the connection was made; it has a meaning while it is unconfirmed.
    pub(super) const fn born(&self) -> u64 {
        (self.previous as u64) << 32 | self.next as u64
    }

    /// Reads one field in each cache line that a packet of the connection reads.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        u64::from(self.generation.get()) ^ self.conn.deadline ^ self.conn.counters[0].packets ^ self.conn.counters[1].packets
    }
}

/// All entries.
#[derive(Debug)]
pub(super) struct Slab {
    chunks: Vec<Vec<Entry>>,
    free: u32,
    len: u32,
    /// Connections that are not ASSURED, in the order of their confirmation.
    oldest: u32,
    newest: u32,
}

impl Default for Slab {
    fn default() -> Slab {
        Slab {
            chunks: Vec::new(),
            free: NIL,
            len: 0,
            oldest: NIL,
            newest: NIL,
        }
    }
}

impl Slab {
    /// Connections, unconfirmed ones included.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Places, used and free.
    pub(super) fn places(&self) -> u32 {
        match self.chunks.last() {
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    /// Bytes of memory in use.
    pub(super) const fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Entry>()
    }

    #[inline]
    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        self.chunks
            .get(index as usize >> CHUNK_BITS)?
            .get(index as usize & (CHUNK - 1))
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.chunks
            .get_mut(index as usize >> CHUNK_BITS)?
            .get_mut(index as usize & (CHUNK - 1))
    }

    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&Entry> {
        self.entry(id.index).filter(|entry| entry.generation == id.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        self.entry_mut(id.index).filter(|entry| entry.generation == id.generation)
    }

    /// The handle of what lives at a place.
    pub(super) fn id(&self, index: u32) -> Option<ConnId> {
        let entry = self.entry(index).filter(|entry| entry.phase != Phase::Free)?;
        Some(ConnId {
            index,
            generation: entry.generation,
        })
    }

    /// A place for a new, unconfirmed connection, made at `born`.
    pub(super) fn insert(&mut self, conn: Conn, born: u64) -> ConnId {
        self.len += 1;
        let (previous, next) = ((born >> 32) as u32, born as u32);
        let index = self.free;
        if let Some(entry) = self.entry_mut(index) {
            let free = entry.next;
            entry.conn = conn;
            (entry.previous, entry.next) = (previous, next);
            entry.phase = Phase::Unconfirmed;
            let generation = entry.generation;
            self.free = free;
            return ConnId { index, generation };
        }
        let index = self.places();
        let entry = Entry {
            conn,
            generation: NonZeroU32::MIN,
            previous,
            next,
            source_previous: OUTSIDE,
            source_next: NIL,
            pending: 0,
            phase: Phase::Unconfirmed,
            in_age_list: false,
        };
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        ConnId {
            index,
            generation: NonZeroU32::MIN,
        }
    }

    /// Frees a place; its handles are dead from now on. The entry must be in no list.
    pub(super) fn remove(&mut self, index: u32) {
        let free = self.free;
        let Some(entry) = self.entry_mut(index).filter(|entry| entry.phase != Phase::Free) else {
            return;
        };
        entry.phase = Phase::Free;
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.conn.proto = super::ProtoState::None;
        entry.conn.extra = None;
        entry.pending = 0;
        entry.next = free;
        self.free = index;
        self.len -= 1;
    }

    /// The connection that has been in the table for longest without becoming ASSURED.
    pub(super) const fn oldest(&self) -> u32 {
        self.oldest
    }

    /// Adds a connection to the list of those that are not ASSURED.
    pub(super) fn age_push(&mut self, index: u32) {
        let newest = self.newest;
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        (entry.previous, entry.next) = (newest, NIL);
        entry.in_age_list = true;
        match self.entry_mut(newest) {
            Some(before) => before.next = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }

    /// How many are on that list, counted along it.
    #[cfg(test)]
    pub(super) fn age_list_len(&self) -> usize {
        std::iter::successors(self.entry(self.oldest), |entry| self.entry(entry.next)).count()
    }

    /// Takes a connection off that list, if it is on it.
    pub(super) fn age_remove(&mut self, index: u32) {
        let Some(entry) = self.entry_mut(index).filter(|entry| entry.in_age_list) else {
            return;
        };
        let (previous, next) = (entry.previous, entry.next);
        entry.in_age_list = false;
        match self.entry_mut(previous) {
            Some(before) => before.next = next,
            None => self.oldest = next,
        }
        match self.entry_mut(next) {
            Some(after) => after.previous = previous,
            None => self.newest = previous,
        }
    }
}

/// Connections by the source of their original tuple: which mapping a source already has (`nf_nat_bysource`).
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The first entry of each chain.
    heads: Box<[u32]>,
}

impl Sources {
    /// Bytes of memory in use.
    pub(super) const fn memory(&self) -> usize {
        self.heads.len() * size_of::<u32>()
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & self.heads.len().wrapping_sub(1)
    }

    /// The first entry of a chain, [`NIL`] when it is empty.
    pub(super) fn first(&self, hash: u32) -> u32 {
        self.heads.get(self.bucket(hash)).copied().unwrap_or(NIL)
    }

    /// Adds an entry. The table is made when it is first needed, with half as many chains as there may be connections.
    pub(super) fn insert(&mut self, slab: &mut Slab, index: u32, keys: &HashKeys, max: u32) {
        if self.heads.is_empty() {
            let chains = (max as usize / 2).clamp(1 << 8, 1 << 22).next_power_of_two();
            self.heads = vec![NIL; chains].into();
        }
        let Some(entry) = slab.entry_mut(index).filter(|entry| entry.source_previous == OUTSIDE) else {
            return;
        };
        let bucket = self.bucket(source_hash(entry, keys));
        let first = std::mem::replace(&mut self.heads[bucket], index);
        (entry.source_previous, entry.source_next) = (NIL, first);
        if let Some(after) = slab.entry_mut(first) {
            after.source_previous = index;
        }
    }

    /// Takes an entry out, if it is in.
    pub(super) fn remove(&mut self, slab: &mut Slab, index: u32, keys: &HashKeys) {
        let Some(entry) = slab.entry_mut(index).filter(|entry| entry.source_previous != OUTSIDE) else {
            return;
        };
        let (previous, next) = (entry.source_previous, entry.source_next);
        entry.source_previous = OUTSIDE;
        let bucket = self.bucket(source_hash(entry, keys));
        match slab.entry_mut(previous) {
            Some(before) => before.source_next = next,
            None => self.heads[bucket] = next,
        }
        if let Some(after) = slab.entry_mut(next) {
            after.source_previous = previous;
        }
    }
}

/// The zone number of the original direction counts, as in the kernel.
fn source_hash(entry: &Entry, keys: &HashKeys) -> u32 {
    let conn = &entry.conn;
    keys.source(&conn.tuples[0], conn.zone.in_direction(super::Direction::Original))
}
