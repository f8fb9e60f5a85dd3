//! From counters that may begin anew to sums: exactly what was transferred, once.
//!
//! A peer's counters belong to a device (one life of an interface) and to a key. As long as both are the same, what they grew by is
//! new; when the device is another, or the key was not there the last time, they began at nothing; when one of them is smaller than
//! it was, so did all of them. No clock is read and nothing is stored here: [`super::Accounting`] does that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A peer's public key.
pub type Key = [u8; 32];

/// What was transferred, seen from the hub: received is what the member sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes received from the member.
    pub rx_bytes: u64,
    /// Bytes sent to the member.
    pub tx_bytes: u64,
    /// Packets received from the member; 0 where the engine does not count them.
    pub rx_packets: u64,
    /// Packets sent to the member; 0 where the engine does not count them.
    pub tx_packets: u64,
}

impl Counters {
    /// Both directions, in bytes: what a quota counts.
    pub fn bytes(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }

    /// Adds to each.
    pub fn add(&mut self, more: &Self) {
        let Self {
            rx_bytes,
            tx_bytes,
            rx_packets,
            tx_packets,
        } = more;
        self.rx_bytes = self.rx_bytes.saturating_add(*rx_bytes);
        self.tx_bytes = self.tx_bytes.saturating_add(*tx_bytes);
        self.rx_packets = self.rx_packets.saturating_add(*rx_packets);
        self.tx_packets = self.tx_packets.saturating_add(*tx_packets);
    }

    /// What is new since `before`; all of it, when one is smaller than it was.
    fn since(&self, before: &Self) -> Self {
        let grown = || {
            Some(Self {
                rx_bytes: self.rx_bytes.checked_sub(before.rx_bytes)?,
                tx_bytes: self.tx_bytes.checked_sub(before.tx_bytes)?,
                rx_packets: self.rx_packets.checked_sub(before.rx_packets)?,
                tx_packets: self.tx_packets.checked_sub(before.tx_packets)?,
            })
        };
        grown().unwrap_or(*self)
    }

    /// 32 bytes, as they are stored.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Self {
            rx_bytes,
            tx_bytes,
            rx_packets,
            tx_packets,
        } = self;
        [rx_bytes, tx_bytes, rx_packets, tx_packets]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    /// The same, read.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let &[rx_bytes, tx_bytes, rx_packets, tx_packets] = numbers else {
            return None;
        };
        rest.is_empty().then_some(Self {
            rx_bytes: u64::from_le_bytes(rx_bytes),
            tx_bytes: u64::from_le_bytes(tx_bytes),
            rx_packets: u64::from_le_bytes(rx_packets),
            tx_packets: u64::from_le_bytes(tx_packets),
        })
    }
}

/// A peer's counters, as the engine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Whose peer it is.
    pub member: &'a str,
    /// The peer.
    pub key: Key,
    /// Its counters.
    pub counters: Counters,
}

/// An hour of UTC: whole hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour in which this moment is.
    pub fn of(now: Timestamp) -> Self {
        Self(now.as_second().div_euclid(3600))
    }

    /// When it begins; the end of time for an hour beyond it.
    pub fn begin(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(3600)).unwrap_or(Timestamp::MAX)
    }
}

/// Counters as they were last seen, and what came together since the last flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    device: Option<String>,
    seen: BTreeMap<Key, Counters>,
    /// What is not in the store yet.
    pub(super) fresh: Fresh,
}

/// What a flush writes, all in one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fresh {
    /// To be added to what is stored.
    pub(super) sums: BTreeMap<(Hour, String), Counters>,
    /// Keys whose last seen counters are others now, or are gone.
    pub(super) keys: BTreeSet<Key>,
    pub(super) device: bool,
}

impl Meter {
    /// A meter that goes on from what was stored: the device and the counters that were last seen on it.
    pub fn resume(device: Option<String>, seen: BTreeMap<Key, Counters>) -> Self {
        Self {
            device,
            seen,
            fresh: Fresh::default(),
        }
    }

    /// Takes the counters of all peers of a device; returns what is new, by member. What is not among `samples` is no peer any more.
    ///
    /// `device` names one life of the interface, such that another life has another name (the boot's identity and the interface's
    /// index; a new random text for each of our own devices). What a peer transfers between its last sample and its removal is
    /// not seen, so whoever removes a peer, or an interface, takes a sample first (and flushes it).
    pub fn observe(&mut self, device: &str, samples: &[Sample<'_>], now: Timestamp) -> BTreeMap<String, Counters> {
        if self.device.as_deref() != Some(device) {
            self.device = Some(device.into());
            self.fresh.device = true;
            self.fresh.keys.extend(std::mem::take(&mut self.seen).into_keys());
        }
        let hour = Hour::of(now);
        let mut present = BTreeSet::new();
        let mut new: BTreeMap<String, Counters> = BTreeMap::new();
        for sample in samples {
            present.insert(sample.key);
            let before = self.seen.insert(sample.key, sample.counters);
            if before == Some(sample.counters) {
                continue;
            }
            self.fresh.keys.insert(sample.key);
            let grown = sample.counters.since(&before.unwrap_or_default());
            if grown != Counters::default() {
                new.entry(sample.member.into()).or_default().add(&grown);
            }
        }
        let gone: Vec<Key> = self.seen.keys().filter(|key| !present.contains(*key)).copied().collect();
        for key in gone {
            self.forget(&key);
        }
        for (member, grown) in &new {
            self.fresh.sums.entry((hour, member.clone())).or_default().add(grown);
        }
        new
    }

    /// A peer is removed: its counters begin at nothing, should it come back. For a peer that is removed and added again
    /// between two samples.
    pub fn forget(&mut self, key: &Key) {
        if self.seen.remove(key).is_some() {
            self.fresh.keys.insert(*key);
        }
    }

    /// The device whose counters were seen last.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// A peer's counters as they were last seen.
    pub(super) fn seen(&self, key: &Key) -> Option<&Counters> {
        self.seen.get(key)
    }

    /// What is not stored yet of an hour.
    pub(super) fn fresh_in(&self, hour: Hour) -> impl Iterator<Item = (&str, &Counters)> {
        let from = (hour, String::new());
        self.fresh
            .sums
            .range(from..)
            .take_while(move |((other, _), _)| *other == hour)
            .map(|((_, member), counters)| (member.as_str(), counters))
    }
}

impl Fresh {
    pub(super) fn is_empty(&self) -> bool {
        let Self { sums, keys, device } = self;
        sums.is_empty() && keys.is_empty() && !device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(rx_bytes: u64, tx_bytes: u64) -> Counters {
        Counters {
            rx_bytes,
            tx_bytes,
            ..Counters::default()
        }
    }

    fn sample(member: &str, key: u8, counters: Counters) -> Sample<'_> {
        Sample {
            member,
            key: [key; 32],
            counters,
        }
    }

    #[test]
    fn grown_begun_anew_gone_and_come_back() {
        let mut meter = Meter::default();
        let now = Timestamp::from_second(7_200).unwrap();
        let mut of = |device: &str, samples: &[Sample<'_>]| {
            let new = meter.observe(device, samples, now);
            new.get("anna").copied().unwrap_or_default()
        };
        assert_eq!(of("a", &[sample("anna", 1, counters(10, 20))]), counters(10, 20));
        assert_eq!(of("a", &[sample("anna", 1, counters(15, 20))]), counters(5, 0));
        // One direction is behind where it was: both began anew, although the other is further.
        assert_eq!(of("a", &[sample("anna", 1, counters(1, 30))]), counters(1, 30));
        // A second device of hers, and a new interface on which everything is larger than it was.
        assert_eq!(
            of("a", &[sample("anna", 1, counters(1, 30)), sample("anna", 2, counters(7, 7))]),
            counters(7, 7)
        );
        assert_eq!(of("b", &[sample("anna", 1, counters(100, 100))]), counters(100, 100));
        // Gone, and come back larger than it was.
        assert_eq!(of("b", &[]), counters(0, 0));
        assert_eq!(of("b", &[sample("anna", 1, counters(200, 200))]), counters(200, 200));
        let total: Vec<_> = meter.fresh_in(Hour(2)).collect();
        assert_eq!(total, [("anna", &counters(323, 357))]);
        assert_eq!(meter.fresh_in(Hour(1)).count() + meter.fresh_in(Hour(3)).count(), 0);
    }

    #[test]
    fn counters_are_stored_as_they_are() {
        let all = Counters {
            rx_bytes: 1,
            tx_bytes: u64::MAX,
            rx_packets: 3,
            tx_packets: 4,
        };
        assert_eq!(Counters::from_bytes(&all.to_bytes()), Some(all));
        assert_eq!(Counters::from_bytes(&all.to_bytes()[..31]), None);
        assert_eq!(Counters::from_bytes(&[0; 33]), None);
    }
}
