//! Accounting objects (`nfnetlink_acct.c`): counters with a name that rules add to, some with a quota.

use std::collections::BTreeMap;

use super::MAX_NAMES;
use crate::Counters;

/// What of an object is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// So many packets.
    Packets(u64),
    /// So many bytes.
    Bytes(u64),
}

/// An object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// What it counted.
    pub counters: Counters,
    /// Its quota.
    pub quota: Option<Quota>,
}

/// All objects by name, at most [`MAX_NAMES`].
#[derive(Debug, Default)]
pub struct Objects(BTreeMap<Box<str>, Object>);

impl Objects {
    /// Makes an object; false when there are too many or the name is taken.
    pub fn add(&mut self, name: &str, quota: Option<Quota>) -> bool {
        if self.0.len() >= MAX_NAMES || self.0.contains_key(name) {
            return false;
        }
        let counters = Counters::default();
        self.0.insert(name.into(), Object { counters, quota });
        true
    }

    /// Removes an object; false when there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.0.iter().map(|(name, object)| (&**name, object))
    }

    /// Counts a packet. True when the object has no quota, or is beyond it.
    pub(crate) fn count(&mut self, name: &str, bytes: u64) -> bool {
        let Some(object) = self.0.get_mut(name) else {
            return false;
        };
        object.counters.add(1, bytes);
        match object.quota {
            None => true,
            Some(Quota::Packets(packets)) => object.counters.packets > packets,
            Some(Quota::Bytes(quota)) => object.counters.bytes > quota,
        }
    }
}
