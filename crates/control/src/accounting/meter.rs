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
///
/// Bytes are those of WireGuard's messages, handshakes and keepalives among them; packets are those inside the tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes received from the member.
    pub rx_bytes: u64,
    /// Bytes sent to the member.
    pub tx_bytes: u64,
    /// Packets; `None` where nobody counted them, and of a sum, where nobody counted any part of it.
    #[serde(flatten)]
    pub packets: Option<Packets>,
}

/// Packets inside the tunnel, seen from the hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Packets received from the member.
    #[serde(rename = "rx_packets")]
    pub rx: u64,
    /// Packets sent to the member.
    #[serde(rename = "tx_packets")]
    pub tx: u64,
}

impl Packets {
    /// Both directions.
    pub fn both(&self) -> u64 {
        self.rx.saturating_add(self.tx)
    }

    /// What is new since `before`; all of it, when one is smaller than it was.
    fn since(&self, before: &Self) -> Self {
        let grown = || {
            Some(Self {
                rx: self.rx.checked_sub(before.rx)?,
                tx: self.tx.checked_sub(before.tx)?,
            })
        };
        grown().unwrap_or(*self)
    }
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
            packets,
        } = more;
        self.rx_bytes = self.rx_bytes.saturating_add(*rx_bytes);
        self.tx_bytes = self.tx_bytes.saturating_add(*tx_bytes);
        if let Some(more) = packets {
            let sum = self.packets.get_or_insert_default();
            sum.rx = sum.rx.saturating_add(more.rx);
            sum.tx = sum.tx.saturating_add(more.tx);
        }
    }

    /// What is new since `before`. Bytes and packets may be counted by different parts, of which one begins anew without the other.
    fn since(&self, before: &Self) -> Self {
        let bytes = || {
            let rx_bytes = self.rx_bytes.checked_sub(before.rx_bytes)?;
            Some((rx_bytes, self.tx_bytes.checked_sub(before.tx_bytes)?))
        };
        let (rx_bytes, tx_bytes) = bytes().unwrap_or((self.rx_bytes, self.tx_bytes));
        Self {
            rx_bytes,
            tx_bytes,
            packets: self.packets.map(|packets| packets.since(&before.packets.unwrap_or_default())),
        }
    }

    fn is_nothing(&self) -> bool {
        self.bytes() == 0 && self.packets.is_none_or(|packets| packets.both() == 0)
    }

    /// The four numbers that are stored. Those of packets are one more than was counted, and 0 where nobody counted: so it stands in
    /// stores of before there were packets, too.
    pub(super) fn to_numbers(self) -> [u64; 4] {
        let Self {
            rx_bytes,
            tx_bytes,
            packets,
        } = self;
        let stored = |of: fn(&Packets) -> u64| packets.as_ref().map_or(0, |packets| of(packets).saturating_add(1));
        [rx_bytes, tx_bytes, stored(|packets| packets.rx), stored(|packets| packets.tx)]
    }

    /// The same, read.
    pub(super) fn from_numbers([rx_bytes, tx_bytes, rx_packets, tx_packets]: [u64; 4]) -> Option<Self> {
        let packets = match (rx_packets.checked_sub(1), tx_packets.checked_sub(1)) {
            (Some(rx), Some(tx)) => Some(Packets { rx, tx }),
            (None, None) => None,
            _ => return None,
        };
        Some(Self {
            rx_bytes,
            tx_bytes,
            packets,
        })
    }

    /// 32 bytes, as they are stored.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.to_numbers().iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// The same, read.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers: &[[u8; 8]; 4] = numbers.try_into().ok()?;
        rest.is_empty()
            .then_some(numbers.map(u64::from_le_bytes))
            .and_then(Self::from_numbers)
    }
}

/// Whose counters they are: each names one life of what counts, such that another life, in which the counters began at nothing, has
/// another name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lives {
    /// Of what counts bytes, the device: the boot's identity and the interface's index; a new text for each of our own devices.
    pub device: String,
    /// Of what counts packets; `None` while nobody does.
    pub packets: Option<String>,
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
    packets: Option<String>,
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
    pub(super) lives: bool,
}

impl Meter {
    /// A meter that goes on from what was stored: the device, what counted packets, and the counters that were last seen on them.
    pub fn resume(device: Option<String>, packets: Option<String>, seen: BTreeMap<Key, Counters>) -> Self {
        Self {
            device,
            packets,
            seen,
            fresh: Fresh::default(),
        }
    }

    /// Takes the counters of all peers of a device; returns what is new, by member. What is not among `samples` is no peer any more.
    ///
    /// What a peer transfers between its last sample and its removal is not seen, so whoever removes a peer, or an interface, takes
    /// a sample first (and flushes it).
    pub fn observe(&mut self, lives: &Lives, samples: &[Sample<'_>], now: Timestamp) -> BTreeMap<String, Counters> {
        self.begin_anew(lives);
        let hour = Hour::of(now);
        let mut present = BTreeSet::new();
        let mut new: BTreeMap<String, Counters> = BTreeMap::new();
        for sample in samples {
            present.insert(sample.key);
            let before = self.seen.get(&sample.key).copied();
            // While nobody counts packets, what was seen of them stays: who counts may go on.
            let packets = sample.counters.packets.or(before.and_then(|before| before.packets));
            let seen = Counters {
                packets,
                ..sample.counters
            };
            if before == Some(seen) {
                continue;
            }
            self.seen.insert(sample.key, seen);
            self.fresh.keys.insert(sample.key);
            let grown = sample.counters.since(&before.unwrap_or_default());
            if !grown.is_nothing() {
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

    /// Forgets what was seen of counters that have begun at nothing since.
    fn begin_anew(&mut self, lives: &Lives) {
        let Lives { device, packets } = lives;
        let other_device = self.device.as_ref() != Some(device);
        let other_packets = packets.is_some() && self.packets != *packets;
        if !other_device && !other_packets {
            return;
        }
        for (key, seen) in &mut self.seen {
            if other_device {
                (seen.rx_bytes, seen.tx_bytes) = (0, 0);
            }
            if other_packets {
                seen.packets = None;
            }
            self.fresh.keys.insert(*key);
        }
        self.device = Some(device.clone());
        self.packets = packets.clone().or(self.packets.take());
        self.fresh.lives = true;
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

    /// What counted the packets that were seen last.
    pub fn packets(&self) -> Option<&str> {
        self.packets.as_deref()
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
        let Self { sums, keys, lives } = self;
        sums.is_empty() && keys.is_empty() && !lives
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
            let lives = Lives {
                device: device.into(),
                packets: None,
            };
            let new = meter.observe(&lives, samples, now);
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
    fn packets_begin_anew_without_the_bytes() {
        let mut meter = Meter::default();
        let mut of = |packets: Option<&str>, rx_bytes: u64, counted: Option<u64>| {
            let lives = Lives {
                device: "a".into(),
                packets: packets.map(Into::into),
            };
            let counters = Counters {
                rx_bytes,
                tx_bytes: 0,
                packets: counted.map(|rx| Packets { rx, tx: 0 }),
            };
            let new = meter.observe(&lives, &[sample("anna", 1, counters)], Timestamp::UNIX_EPOCH);
            let new = new.get("anna").copied().unwrap_or_default();
            (new.rx_bytes, new.packets.map(|packets| packets.rx))
        };
        assert_eq!(of(None, 10, None), (10, None), "nobody counts");
        assert_eq!(of(Some("x"), 20, Some(3)), (10, Some(3)));
        // Fewer than before, by the same name: it began anew, and the bytes did not.
        assert_eq!(of(Some("x"), 21, Some(1)), (1, Some(1)));
        // More than before, by another name.
        assert_eq!(of(Some("y"), 22, Some(8)), (1, Some(8)));
        // A pause, after which the same goes on.
        assert_eq!(of(None, 23, None), (1, None));
        assert_eq!(of(Some("y"), 24, Some(10)), (1, Some(2)));
        assert_eq!(of(Some("y"), 25, Some(10)), (1, Some(0)), "a handshake");
        assert_eq!(of(Some("y"), 2, Some(11)), (2, Some(1)));
    }

    #[test]
    fn counters_are_stored_as_they_are() {
        let mut all = Counters {
            rx_bytes: 1,
            tx_bytes: u64::MAX,
            packets: Some(Packets { rx: 0, tx: 4 }),
        };
        for _ in 0..2 {
            assert_eq!(Counters::from_bytes(&all.to_bytes()), Some(all));
            assert_eq!(Counters::from_bytes(&all.to_bytes()[..31]), None);
            all.packets = None;
        }
        assert_eq!(Counters::from_bytes(&[0; 32]), Some(Counters::default()), "as it always was");
        assert_eq!(Counters::from_bytes(&[0; 33]), None);
        assert_eq!(Counters::from_numbers([0, 0, 1, 0]), None, "half counted");
    }
}
