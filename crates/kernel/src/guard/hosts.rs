//! Bans of single addresses. They stand in a hash map: refusing one costs no walk through a trie, and the bits in front
//! of it are those of whole addresses, so that the other members of the network don't pay for a banned one.

use aya::maps::{HashMap, MapData, MapError};

use super::filter::Counter;
use super::prefilter::HashedBits;
use super::sys::SharedWords;

/// The banned hosts of one address family. The slot of a key is [`super::prefilter::Multipliers::host_slot`].
pub(super) struct Hosts<const N: usize> {
    map: HashMap<MapData, [u8; N], Counter>,
    words: SharedWords,
    bits: HashedBits,
}

impl<const N: usize> Hosts<N> {
    pub(super) fn new(map: HashMap<MapData, [u8; N], Counter>, words: SharedWords) -> Self {
        Self {
            map,
            words,
            bits: HashedBits::default(),
        }
    }

    /// Adds a host that is not there.
    pub(super) fn insert(&mut self, key: [u8; N], slot: usize) -> Result<(), MapError> {
        // The map first: a bit without a ban costs a lookup, but a ban without its bit is none.
        self.map.insert(key, [0, 0], 0)?;
        self.bits.add(&self.words, slot);
        Ok(())
    }

    /// Removes a host that is there.
    pub(super) fn remove(&mut self, key: [u8; N], slot: usize) -> Result<(), MapError> {
        self.map.remove(&key)?;
        self.bits.remove(&self.words, slot);
        Ok(())
    }

    pub(super) fn count(&self, key: [u8; N]) -> Result<Counter, MapError> {
        self.map.get(&key, 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }
}
