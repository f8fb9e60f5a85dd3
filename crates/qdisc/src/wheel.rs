//! A timing wheel on the caller's clock: things that have their times, the earliest first.
//!
//! Wheels of 64 slots, each slot of one as wide as the whole wheel below it, hold what is far away; putting something in and
//! moving it down are a few instructions, whatever else waits. What stands in the slot whose time has come is sorted in a heap,
//! so that times are exact to the nanosecond, not to the slot. Each thing moves at most once for each wheel, usually two or
//! three times; one call moves at most what stands in one slot of each.
//!
//! Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987; a heap in front as in Carousel (SIGCOMM 2017) is not
//! needed there, because it rounds times to the slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Width of the lowest wheel's slots, as a power of two of nanoseconds: 16 µs, in which few packets leave.
const GRAIN_BITS: u32 = 14;
/// 64 slots for each wheel: a word says which hold something.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for every time.
const LEVELS: usize = (64 - GRAIN_BITS).div_ceil(SLOT_BITS) as usize;

const NONE: u32 = u32::MAX;

struct Entry<T> {
    time: u64,
    /// Equal times keep the order in which they came.
    number: u64,
    /// The next in the slot, or among the free places.
    next: u32,
    item: Option<T>,
}

/// Things that have their times.
pub(crate) struct Wheel<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    slots: Box<[[u32; SLOTS]; LEVELS]>,
    /// The slots that hold something, as bits.
    taken: [u64; LEVELS],
    /// In slots of the lowest wheel: what is earlier is in `due`.
    cursor: u64,
    due: BinaryHeap<Reverse<(u64, u64, u32)>>,
    number: u64,
    len: usize,
    latest: u64,
}

impl<T> Wheel<T> {
    pub fn new() -> Self {
        Wheel {
            entries: Vec::new(),
            free: NONE,
            slots: Box::new([[NONE; SLOTS]; LEVELS]),
            taken: [0; LEVELS],
            cursor: 0,
            due: BinaryHeap::new(),
            number: 0,
            len: 0,
            latest: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All things, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.item.as_ref())
    }

    /// The latest time.
    pub fn last(&self) -> Option<u64> {
        // The earliest leave first, so the latest that ever came is still there.
        (!self.is_empty()).then_some(self.latest)
    }

    pub fn push(&mut self, time: u64, item: T) {
        if self.is_empty() {
            // Nothing stands anywhere: the wheels may turn to where things happen now.
            self.cursor = time >> GRAIN_BITS;
            self.latest = 0;
        }
        self.number += 1;
        let entry = Entry {
            time,
            number: self.number,
            next: NONE,
            item: Some(item),
        };
        let index = match self.free {
            NONE => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
            free => {
                self.free = self.entries[free as usize].next;
                self.entries[free as usize] = entry;
                free
            }
        };
        self.len += 1;
        self.latest = self.latest.max(time);
        self.place(index);
    }

    /// The earliest time.
    pub fn first(&mut self) -> Option<u64> {
        self.turn();
        self.due.peek().map(|Reverse((time, ..))| *time)
    }

    /// Takes the earliest.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.turn();
        let Reverse((time, _, index)) = self.due.pop()?;
        let entry = &mut self.entries[index as usize];
        entry.next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
        let item = entry.item.take()?;
        if self.is_empty() {
            // A burst long ago shall not hold its memory for ever.
            self.entries.clear();
            self.entries.shrink_to(1024);
            self.free = NONE;
        }
        Some((time, item))
    }

    /// Puts an entry where it belongs as seen from the cursor: into the wheel of the highest digit in which they differ.
    fn place(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let slot = entry.time >> GRAIN_BITS;
        if slot < self.cursor {
            self.due.push(Reverse((entry.time, entry.number, index)));
            return;
        }
        let level = ((slot ^ self.cursor) | 1).ilog2() / SLOT_BITS;
        let digit = digit(slot, level);
        let level = level as usize;
        entry.next = std::mem::replace(&mut self.slots[level][digit], index);
        self.taken[level] |= 1 << digit;
    }

    /// Turns the wheels to the next slot that holds something, unless something is due already.
    fn turn(&mut self) {
        while self.due.is_empty() && !self.is_empty() {
            // The first wheel that holds something ahead of the cursor; behind it there is nothing.
            let ahead = |level: usize| self.taken[level] >> digit(self.cursor, level as u32) << digit(self.cursor, level as u32);
            let Some(level) = (0..LEVELS).find(|level| ahead(*level) != 0) else {
                return;
            };
            let slot = u64::from(ahead(level).trailing_zeros());
            let below = SLOT_BITS * level as u32;
            let above = below + SLOT_BITS;
            let base = if above < 64 { self.cursor >> above << above } else { 0 };
            self.cursor = base | slot << below;
            let mut next = std::mem::replace(&mut self.slots[level][slot as usize], NONE);
            self.taken[level] &= !(1 << slot);
            if level == 0 {
                // What comes for this slot from now on is due as well.
                self.advance();
            }
            while next != NONE {
                let index = next;
                next = self.entries[index as usize].next;
                self.place(index);
            }
        }
    }

    /// One slot on. Where that turns a higher wheel on, what its slot holds is now nearer.
    fn advance(&mut self) {
        self.cursor += 1;
        for level in 1..LEVELS {
            if digit(self.cursor, level as u32 - 1) != 0 {
                break;
            }
            let slot = digit(self.cursor, level as u32);
            self.taken[level] &= !(1 << slot);
            let mut next = std::mem::replace(&mut self.slots[level][slot], NONE);
            while next != NONE {
                let index = next;
                next = self.entries[index as usize].next;
                self.place(index);
            }
        }
    }
}

fn digit(slot: u64, level: u32) -> usize {
    (slot >> (SLOT_BITS * level)) as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_agrees_with_an_ordered_map() {
        for (seed, spread) in [
            (1, 1_u64 << 12),
            (2, 1 << 18),
            (3, 1 << 24),
            (4, 1 << 33),
            (5, 1 << 50),
            (6, u64::MAX / 4),
        ] {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut wheel, mut model) = (Wheel::new(), BTreeMap::new());
            let mut now = rng.u64(0..u64::MAX / 2);
            for number in 0..30_000_u64 {
                // Filled and emptied by turns.
                let filling = number % 6000 < 3000;
                if rng.u32(0..10) < if filling { 7 } else { 3 } {
                    let far = rng.u64(0..spread) / [1, 1000][rng.usize(0..2)];
                    let time = now.saturating_sub(spread / 8).saturating_add(far);
                    wheel.push(time, number);
                    model.insert((time, number), ());
                } else {
                    assert_eq!(wheel.last(), model.last_key_value().map(|((time, _), ())| *time));
                    assert_eq!(wheel.first(), model.first_key_value().map(|((time, _), ())| *time));
                    let expected = model.pop_first().map(|(key, ())| key);
                    assert_eq!(wheel.pop(), expected);
                    if let Some((time, _)) = expected {
                        now = now.max(time);
                    }
                }
                assert_eq!(wheel.len(), model.len());
            }
            assert_eq!(wheel.iter().count(), model.len());
        }
    }

    #[test]
    fn the_ends_of_time() {
        let mut wheel = Wheel::new();
        for time in [u64::MAX, 0, u64::MAX - 1, 1, u64::MAX] {
            wheel.push(time, time);
        }
        let out: Vec<u64> = std::iter::from_fn(|| wheel.pop()).map(|(time, _)| time).collect();
        assert_eq!(out, [0, 1, u64::MAX - 1, u64::MAX, u64::MAX]);
        assert!(wheel.is_empty());
        assert_eq!((wheel.first(), wheel.last()), (None, None));
    }
}
