//! What members have sent and received, by the hour, for a year; exact across restarts and counters that begin anew.
//!
//! [`Meter`] turns counters into sums. Here they are stored: sums and the counters they were made from go into one commit, so
//! that after a crash what was counted is not counted again, and what was not is. Members that are renamed or removed keep their
//! history under the name they had.

mod meter;
mod packed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fielato_policy::Config;
use fielato_policy::config::{Over, Period};
use fielato_store::{MAX_VALUE, Options, Store, Txn};
use jiff::Timestamp;

pub use self::meter::{Counters, Hour, Key, Lives, Meter, Packets, Sample};
use crate::records;

/// How long hours are kept: a year, and the day that some have more.
pub const KEPT_HOURS: i64 = 366 * 24;
/// However the clock jumps, no more hours than these are kept.
const MOST_HOURS: usize = 2 * 366 * 24;
/// How many hours a flush removes at most, so that it stays short.
const REMOVED_AT_ONCE: usize = 24;

const DEVICE: &str = "device";
const PACKETS: &str = "packets";
const SEEN: &str = "seen/";
const HOURS: &str = "hours/";
/// Sums of an hour that is being written: hour and member.
const SUMS: &str = "sums/";
/// Sums of an hour that is over: hour and part.
const PACKED: &str = "packed/";

/// Options for a store that is written every few seconds, and that nobody watches.
pub fn store_options() -> Options {
    Options {
        history: 0,
        ..Options::default()
    }
}

/// The accounts, in a store of their own.
pub struct Accounting {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

type Sums = BTreeMap<String, Counters>;

#[derive(Default)]
struct State {
    meter: Meter,
    /// Hours of which there is something in the store.
    stored: BTreeSet<Hour>,
    /// Sums as they are stored, of hours that were written and are not packed yet.
    written: BTreeMap<Hour, Sums>,
    /// Sums of whole days, with what is not stored yet, for quotas.
    days: BTreeMap<i64, Sums>,
}

impl Accounting {
    /// The accounts in this store, which nobody else writes to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn Store>) -> Result<Self> {
        let life = |key| -> Result<Option<String>> {
            let entry = store.get(key)?;
            Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
        };
        let (device, packets) = (life(DEVICE)?, life(PACKETS)?);
        let mut seen = BTreeMap::new();
        for (key, entry) in store.list(SEEN)?.1 {
            let peer = key
                .strip_prefix(SEEN)
                .and_then(|key| URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok());
            seen.insert(peer.with_context(|| damaged(&key))?, counters(&key, &entry.value)?);
        }
        let mut stored = BTreeSet::new();
        for (key, _) in store.list(HOURS)?.1 {
            let hour = key.strip_prefix(HOURS).and_then(|hour| hour.parse().ok());
            stored.insert(Hour(hour.with_context(|| damaged(&key))?));
        }
        let mut unpacked = BTreeSet::new();
        for (key, _) in store.list(SUMS)?.1 {
            let hour = key.strip_prefix(SUMS).and_then(|key| key.split_once('/')?.0.parse().ok());
            unpacked.insert(Hour(hour.with_context(|| damaged(&key))?));
        }
        let accounts = Self {
            store,
            state: Mutex::default(),
        };
        let mut written = BTreeMap::new();
        for hour in unpacked {
            written.insert(hour, accounts.read_hour(hour)?);
        }
        *accounts.state() = State {
            meter: Meter::resume(device, packets, seen),
            stored,
            written,
            ..State::default()
        };
        Ok(accounts)
    }

    /// Takes the counters of all peers of a device, as [`Meter::observe`]; what is new counts for the hour of `now`.
    pub fn observe(&self, lives: &Lives, samples: &[Sample<'_>], now: Timestamp) {
        let mut state = self.state();
        let new = state.meter.observe(lives, samples, now);
        if let Some(day) = state.days.get_mut(&day(Hour::of(now))) {
            for (member, grown) in new {
                day.entry(member).or_default().add(&grown);
            }
        }
    }

    /// A peer is removed; see [`Meter::forget`].
    pub fn forget(&self, key: &Key) {
        self.state().meter.forget(key);
    }

    /// Stores what is new, in one commit. To be called every few seconds: with our own device, what came since the last flush is
    /// lost when the process is killed, since its counters are lost with it; the kernel's go on.
    ///
    /// # Errors
    /// When the store cannot be written. Nothing is lost: it is stored with the next flush.
    pub fn flush(&self, now: Timestamp) -> Result<()> {
        let mut state = self.state();
        if state.meter.fresh.is_empty() {
            return Ok(());
        }
        let mut txn = Txn::new();
        let hours: BTreeSet<Hour> = state.meter.fresh.sums.keys().map(|(hour, _)| *hour).collect();
        for hour in &hours {
            if !state.written.contains_key(hour) {
                let sums = self.read_hour(*hour)?;
                state.written.insert(*hour, sums);
            }
            if !state.stored.contains(hour) {
                txn = txn.put(hour_key(*hour), []);
            }
        }
        let mut new_sums = Vec::new();
        for ((hour, member), grown) in &state.meter.fresh.sums {
            let written = state.written.get(hour).and_then(|sums| sums.get(member));
            let mut sum = written.copied().unwrap_or_default();
            sum.add(grown);
            txn = txn.put(sum_key(*hour, member), sum.to_bytes());
            new_sums.push((*hour, member.clone(), sum));
        }
        for key in &state.meter.fresh.keys {
            txn = match state.meter.seen(key) {
                Some(counters) => txn.put(seen_key(key), counters.to_bytes()),
                None => txn.delete(seen_key(key)),
            };
        }
        if state.meter.fresh.lives {
            for (key, life) in [(DEVICE, state.meter.device()), (PACKETS, state.meter.packets())] {
                txn = match life {
                    Some(life) => txn.put(key, life),
                    None => txn,
                };
            }
        }
        // Hours that are over are packed; one that is written again later is packed again.
        let over: Vec<Hour> = state.written.keys().filter(|hour| !hours.contains(hour)).copied().collect();
        for hour in &over {
            let sums = state.written.get(hour).map(packed::pack).unwrap_or_default();
            txn = self.delete_hour(txn, *hour, |key| !key.starts_with(PACKED))?;
            for (part, bytes) in sums.chunks(MAX_VALUE).enumerate() {
                txn = txn.put(packed_key(*hour, part), bytes);
            }
        }
        let mut old = state.too_old(now);
        old.retain(|hour| !hours.contains(hour) && !over.contains(hour));
        for hour in &old {
            txn = self.delete_hour(txn.delete(hour_key(*hour)), *hour, |_| true)?;
        }
        self.store
            .commit(txn)
            .context("what members have sent and received cannot be stored")?;

        state.meter.fresh = Default::default();
        state.stored.retain(|hour| !old.contains(hour));
        state.stored.extend(&hours);
        state.written.retain(|hour, _| !over.contains(hour));
        for (hour, member, sum) in new_sums {
            state.written.entry(hour).or_default().insert(member, sum);
        }
        let today = day(Hour::of(now));
        state.days.retain(|day, _| day.abs_diff(today) <= 40);
        Ok(())
    }

    /// What these members have used together of the period that `now` is in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn used(&self, members: &[&str], period: Period, now: Timestamp) -> Result<Counters> {
        let mut state = self.state();
        let period = period.around(now);
        let mut used = Counters::default();
        // To the period's end: a clock that was set back may have left sums of days to come.
        for day in day(Hour::of(period.start))..day(Hour::of(period.end)) {
            if !state.days.contains_key(&day) {
                let sums = self.read_day(&state, day)?;
                state.days.insert(day, sums);
            }
            let Some(sums) = state.days.get(&day) else { continue };
            for counters in members.iter().filter_map(|member| sums.get(*member)) {
                used.add(counters);
            }
        }
        Ok(used)
    }

    /// The members that have used up a quota, and what follows from it: as a plan wants it
    /// ([`Circumstances::over_quota`](fielato_policy::Circumstances)).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn over_quota(&self, config: &Config, now: Timestamp) -> Result<BTreeMap<String, Over>> {
        let mut over: BTreeMap<String, Over> = BTreeMap::new();
        for quota_of in config.quotas() {
            let quota = quota_of.quota;
            if self.used(&quota_of.members, quota.period, now)?.bytes() < quota.bytes {
                continue;
            }
            for member in quota_of.members {
                let stricter = over.get(member).map_or(quota.over, |other| quota.over.stricter(*other));
                over.insert(member.into(), stricter);
            }
        }
        Ok(over)
    }

    /// What each member has sent and received from the hour of `since` on, up to the one of `until`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self, since: Timestamp, until: Timestamp) -> Result<BTreeMap<String, Counters>> {
        let mut usage = Sums::new();
        self.each_hour(since, until, |_, sums| add_all(&mut usage, &sums))?;
        Ok(usage)
    }

    /// What these members have sent and received together in each hour in which there was something.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_hour(&self, since: Timestamp, until: Timestamp, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<Hour, Counters>> {
        let mut usage: BTreeMap<Hour, Counters> = BTreeMap::new();
        self.each_hour(since, until, |hour, sums| {
            for (_, counters) in sums.iter().filter(|(member, _)| wanted(member)) {
                usage.entry(hour).or_default().add(counters);
            }
        })?;
        Ok(usage)
    }

    fn each_hour(&self, since: Timestamp, until: Timestamp, mut run: impl FnMut(Hour, Sums)) -> Result<()> {
        let state = self.state();
        let range = Hour::of(since)..=Hour::of(until);
        if range.is_empty() {
            return Ok(());
        }
        let fresh = state.meter.fresh.sums.keys().map(|(hour, _)| *hour);
        let hours: BTreeSet<Hour> = fresh
            .filter(|hour| range.contains(hour))
            .chain(state.stored.range(range.clone()).copied())
            .collect();
        for hour in hours {
            run(hour, self.read_with_fresh(&state, hour)?);
        }
        Ok(())
    }

    fn read_day(&self, state: &State, day: i64) -> Result<Sums> {
        let mut sums = Sums::new();
        let first = day.saturating_mul(24);
        for hour in first..first.saturating_add(24) {
            add_all(&mut sums, &self.read_with_fresh(state, Hour(hour))?);
        }
        Ok(sums)
    }

    fn read_with_fresh(&self, state: &State, hour: Hour) -> Result<Sums> {
        let mut sums = match state.written.get(&hour) {
            Some(sums) => sums.clone(),
            None if state.stored.contains(&hour) => self.read_hour(hour)?,
            None => Sums::new(),
        };
        for (member, counters) in state.meter.fresh_in(hour) {
            sums.entry(member.into()).or_default().add(counters);
        }
        Ok(sums)
    }

    fn read_hour(&self, hour: Hour) -> Result<Sums> {
        let mut parts = Vec::new();
        for part in 0.. {
            let Some(entry) = self.store.get(&packed_key(hour, part))? else {
                break;
            };
            parts.extend(entry.value);
            // Only the last part is shorter than a value may be.
            if parts.len() % MAX_VALUE != 0 {
                break;
            }
        }
        let mut sums = packed::unpack(&parts).with_context(|| damaged(&packed_key(hour, 0)))?;
        // What was written since is newer.
        let prefix = sum_key(hour, "");
        for (key, entry) in self.store.list(&prefix)?.1 {
            let member = key.strip_prefix(&prefix).and_then(records::text);
            sums.insert(member.with_context(|| damaged(&key))?, counters(&key, &entry.value)?);
        }
        Ok(sums)
    }

    /// Deletes what is stored of an hour, as far as it is wanted so.
    fn delete_hour(&self, mut txn: Txn, hour: Hour, wanted: impl Fn(&str) -> bool) -> Result<Txn> {
        for prefix in [sum_key(hour, ""), packed_prefix(hour)] {
            for (key, _) in self.store.list(&prefix)?.1 {
                if wanted(&key) {
                    txn = txn.delete(key);
                }
            }
        }
        Ok(txn)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hours to be removed with this flush.
    fn too_old(&self, now: Timestamp) -> BTreeSet<Hour> {
        let present = Hour(Hour::of(now).0);
        let mut old = BTreeSet::new();
        // A clock that leaps years ahead must not cost the year: it is believed when most of a day was counted by it.
        let last_day = Hour(present.0.saturating_sub(24))..=present;
        if self.stored.range(last_day).count() >= 20 {
            let oldest = Hour(present.0.saturating_sub(KEPT_HOURS));
            old.extend(self.stored.range(..oldest).take(REMOVED_AT_ONCE));
        }
        let too_many = self.stored.len().saturating_sub(MOST_HOURS).min(REMOVED_AT_ONCE);
        old.extend(self.stored.iter().take(too_many));
        old
    }
}

/// Sums by member as sums by group: a member counts for each group it is in.
pub fn by_group(usage: &BTreeMap<String, Counters>, config: &Config) -> BTreeMap<String, Counters> {
    let mut sums = Sums::new();
    for (group, content) in config.group_contents().iter() {
        let sum = sums.entry(group.into()).or_default();
        for counters in content.members.iter().filter_map(|member| usage.get(*member)) {
            sum.add(counters);
        }
    }
    sums
}

fn add_all(sums: &mut Sums, more: &Sums) {
    for (member, counters) in more {
        match sums.get_mut(member) {
            Some(sum) => sum.add(counters),
            None => drop(sums.insert(member.clone(), *counters)),
        }
    }
}

/// Whole days of UTC since 1970.
fn day(hour: Hour) -> i64 {
    hour.0.div_euclid(24)
}

fn counters(key: &str, bytes: &[u8]) -> Result<Counters> {
    Counters::from_bytes(bytes).with_context(|| damaged(key))
}

fn damaged(key: &str) -> String {
    format!("the record `{key}` of the accounts cannot be read; a later version of Fielato may have written it")
}

fn hour_key(Hour(hour): Hour) -> String {
    format!("{HOURS}{hour}")
}

fn sum_key(Hour(hour): Hour, member: &str) -> String {
    format!("{SUMS}{hour}/{}", records::part(member))
}

fn packed_prefix(Hour(hour): Hour) -> String {
    format!("{PACKED}{hour}/")
}

fn packed_key(hour: Hour, part: usize) -> String {
    format!("{}{part}", packed_prefix(hour))
}

fn seen_key(key: &Key) -> String {
    format!("{SEEN}{}", URL_SAFE_NO_PAD.encode(key))
}

#[cfg(test)]
mod tests;
