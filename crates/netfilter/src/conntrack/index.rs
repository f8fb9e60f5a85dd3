//! A hash table of numbers: open addressing with linear probing, 8 bytes a place, so that a search reads one cache line
//! and then the entry itself.

/// A place: the hash in the high half, the value plus one in the low half. Zero is a free place.
type Place = u64;

const FREE: Place = 0;
/// In a table that is being left: something was here, search on.
const LEFT: Place = u32::MAX as u64;
const SMALLEST: usize = 64;
/// Places of the old table that are moved with each insertion while the table grows. The old table is empty long before the
/// new one is full, so that no insertion ever moves them all.
const MOVED_AT_ONCE: usize = 8;

/// Values below `u32::MAX - 1`, found by their 32-bit hash.
#[derive(Debug)]
pub(super) struct Index {
    places: Box<[Place]>,
    /// Values in both tables.
    len: usize,
    old: Option<Old>,
}

#[derive(Debug)]
struct Old {
    places: Box<[Place]>,
    next: usize,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            places: vec![FREE; SMALLEST].into(),
            len: 0,
            old: None,
        }
    }
}

/// The place where a search for `hash` starts: its highest bits, so that a place's home is known from the place alone.
const fn home(hash: u32, places: usize) -> usize {
    (hash >> (32 - places.trailing_zeros())) as usize
}

const fn hash_of(place: Place) -> u32 {
    (place >> 32) as u32
}

const fn value_of(place: Place) -> u32 {
    (place as u32).wrapping_sub(1)
}

impl Index {
    /// How many values are in.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What stands where a search for `hash` begins.
    #[inline]
    pub(super) fn home_of(&self, hash: u32) -> u64 {
        self.places.get(home(hash, self.places.len())).copied().unwrap_or(FREE)
    }

    /// The first value of this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        find_in(&self.places, hash, &mut is_it).or_else(|| find_in(&self.old.as_ref()?.places, hash, &mut is_it))
    }

    /// Of several values of this hash that `is_it` accepts the one that was added last (but for those that a growing table is
    /// moving just then).
    pub(super) fn find_newest(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        last_in(&self.places, hash, &mut is_it).or_else(|| last_in(&self.old.as_ref()?.places, hash, &mut is_it))
    }

    /// Adds a value; it must not be in already.
    pub(super) fn insert(&mut self, hash: u32, value: u32) {
        if self.old.is_some() {
            self.move_some();
        } else if (self.len + 1) * 4 > self.places.len() * 3 {
            let larger = vec![FREE; self.places.len() * 2].into();
            let places = std::mem::replace(&mut self.places, larger);
            self.old = Some(Old { places, next: 0 });
            self.move_some();
        }
        self.put(u64::from(hash) << 32 | (u64::from(value) + 1));
        self.len += 1;
    }

    /// Takes a value out; false when it wasn't in.
    pub(super) fn remove(&mut self, hash: u32, value: u32) -> bool {
        let wanted = u64::from(hash) << 32 | (u64::from(value) + 1);
        if let Some(at) = position(&self.places, wanted) {
            close_gap(&mut self.places, at);
        } else if let Some(old) = &mut self.old
            && let Some(at) = position(&old.places, wanted)
        {
            old.places[at] = LEFT;
        } else {
            return false;
        }
        self.len -= 1;
        true
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        let old = self.old.as_ref().map_or(0, |old| old.places.len());
        (self.places.len() + old) * size_of::<Place>()
    }

    fn put(&mut self, place: Place) {
        let mask = self.places.len() - 1;
        let mut at = home(hash_of(place), self.places.len());
        while self.places[at] != FREE {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    fn move_some(&mut self) {
        let Some(mut old) = self.old.take() else {
            return;
        };
        let end = (old.next + MOVED_AT_ONCE).min(old.places.len());
        for at in old.next..end {
            let place = old.places[at];
            if place != FREE && place != LEFT {
                // A free place stays free: searches in the old table end there.
                old.places[at] = LEFT;
                self.put(place);
            }
        }
        old.next = end;
        if end < old.places.len() {
            self.old = Some(old);
        }
    }
}

#[inline]
fn find_in(places: &[Place], hash: u32, is_it: &mut impl FnMut(u32) -> bool) -> Option<u32> {
    let mask = places.len() - 1;
    let mut at = home(hash, places.len()) & mask;
    // The old table may have no free place left: at most once around.
    for _ in 0..places.len() {
        let place = places[at];
        if place == FREE {
            return None;
        }
        if hash_of(place) == hash && place != LEFT && is_it(value_of(place)) {
            return Some(value_of(place));
        }
        at = (at + 1) & mask;
    }
    None
}

/// The last one: linear probing meets values of one hash in the order in which they came.
fn last_in(places: &[Place], hash: u32, is_it: &mut impl FnMut(u32) -> bool) -> Option<u32> {
    let mut last = None;
    find_in(places, hash, &mut |value| {
        if is_it(value) {
            last = Some(value);
        }
        false
    });
    last
}

fn position(places: &[Place], wanted: Place) -> Option<usize> {
    let mask = places.len() - 1;
    let mut at = home(hash_of(wanted), places.len()) & mask;
    for _ in 0..places.len() {
        match places[at] {
            FREE => return None,
            place if place == wanted => return Some(at),
            _ => at = (at + 1) & mask,
        }
    }
    None
}

/// Frees a place and moves those behind it forward, so that every search still meets what it looks for.
fn close_gap(places: &mut [Place], at: usize) {
    let mask = places.len() - 1;
    let (mut gap, mut at) = (at, at);
    loop {
        at = (at + 1) & mask;
        let place = places[at];
        if place == FREE {
            break;
        }
        let distance = at.wrapping_sub(home(hash_of(place), places.len())) & mask;
        if distance >= at.wrapping_sub(gap) & mask {
            places[gap] = place;
            gap = at;
        }
    }
    places[gap] = FREE;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Hashes from a small set, so that many collide and long runs wrap around the table's end.
    #[test]
    fn agrees_with_a_map_under_random_operations() {
        for seed in 0..8 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut index = Index::default();
            let mut model: HashMap<u32, u32> = HashMap::new();
            for _ in 0..20_000 {
                let value = rng.u32(0..3_000);
                let hash = if rng.bool() {
                    rng.u32(..)
                } else {
                    rng.u32(0..16) * 0x1100_0000
                };
                if let Some(hash) = model.remove(&value) {
                    assert!(index.remove(hash, value));
                    assert!(!index.remove(hash, value));
                } else {
                    model.insert(value, hash);
                    index.insert(hash, value);
                }
                let (&value, &hash) = model.iter().next().unwrap_or((&0, &0));
                assert_eq!(index.find(hash, |v| v == value).is_some(), model.contains_key(&value));
                assert_eq!(index.len(), model.len());
            }
            for (&value, &hash) in &model {
                assert_eq!(index.find(hash, |v| v == value), Some(value));
            }
        }
    }

    /// The longest run of places that a search would have to cross.
    fn longest_search(index: &Index) -> usize {
        let runs = |places: &[Place]| places.split(|&place| place == FREE).map(<[Place]>::len).max();
        let old = index.old.as_ref().and_then(|old| runs(&old.places));
        runs(&index.places).max(old).unwrap_or(0)
    }

    #[test]
    fn searches_stay_short_while_it_grows() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut index = Index::default();
        let mut growing = 0;
        for value in 0..60_000u32 {
            index.insert(rng.u32(..), value);
            if value % 64 == 0 {
                growing += usize::from(index.old.is_some());
                let longest = longest_search(&index);
                assert!(longest < 600, "{longest} places with {value} values");
            }
        }
        assert!(growing > 20);
    }

    #[test]
    fn grows_a_little_at_a_time() {
        let mut index = Index::default();
        for value in 0..100_000u32 {
            index.insert(value.wrapping_mul(0x9e37_79b9), value);
            assert!(index.find(value.wrapping_mul(0x9e37_79b9), |v| v == value).is_some());
        }
        assert!((0..100_000u32).all(|v| index.find(v.wrapping_mul(0x9e37_79b9), |w| w == v).is_some()));
        assert!(index.memory() <= 100_000 * 8 * 4);
    }
}
