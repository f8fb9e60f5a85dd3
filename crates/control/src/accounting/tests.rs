use std::path::Path;

use fielato_store::Embedded;
use fielato_testkit::unique;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn open(path: &Path) -> Accounting {
    Accounting::open(Arc::new(Embedded::open_with(path, store_options()).unwrap())).unwrap()
}

fn sample(member: &str, key: u8, rx_bytes: u64) -> Sample<'_> {
    Sample {
        member,
        key: [key; 32],
        counters: Counters {
            rx_bytes,
            tx_bytes: rx_bytes / 2,
            ..Counters::default()
        },
    }
}

/// A hub as it is, which knows the truth.
struct World {
    device: String,
    /// Whose peer a key is, and its counters.
    peers: BTreeMap<u8, (&'static str, Counters)>,
    truth: BTreeMap<(Hour, &'static str), Counters>,
    /// What came since the last sample.
    unseen: BTreeMap<&'static str, Counters>,
    /// What was sampled since the last flush.
    unflushed: Vec<(Hour, &'static str, Counters)>,
    now: Timestamp,
}

impl World {
    fn sample(&mut self, accounts: &Accounting) {
        let samples: Vec<Sample<'_>> = self
            .peers
            .iter()
            .map(|(key, (member, counters))| Sample {
                member,
                key: [*key; 32],
                counters: *counters,
            })
            .collect();
        accounts.observe(&self.device, &samples, self.now);
        let hour = Hour::of(self.now);
        self.unflushed.extend(
            std::mem::take(&mut self.unseen)
                .into_iter()
                .map(|(member, counters)| (hour, member, counters)),
        );
    }

    fn flush(&mut self, accounts: &Accounting) {
        accounts.flush(self.now).unwrap();
        for (hour, member, counters) in self.unflushed.drain(..) {
            self.truth.entry((hour, member)).or_default().add(&counters);
        }
    }

    /// The daemon is killed. What it had not flushed is still in the kernel's counters, to be seen by the next one.
    fn kill(&mut self) {
        for (_, member, counters) in self.unflushed.drain(..) {
            self.unseen.entry(member).or_default().add(&counters);
        }
    }

    /// The sums of what was sampled.
    fn total(&self, wanted: impl Fn(Hour) -> bool) -> Sums {
        let mut total = Sums::new();
        let flushed = self.truth.iter().map(|((hour, member), counters)| (hour, member, counters));
        let sampled = self.unflushed.iter().map(|(hour, member, counters)| (hour, member, counters));
        for (_, member, counters) in flushed.chain(sampled).filter(|(hour, ..)| wanted(**hour)) {
            if *counters != Counters::default() {
                total.entry((*member).into()).or_default().add(counters);
            }
        }
        total
    }
}

/// Traffic, peers that come and go, interfaces made anew, daemons killed (the kernel's counters go on), clocks set forward
/// and back, in random order: the sums are the truth, hour by hour.
#[test]
fn sums_are_the_truth() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.redb");
        let mut accounts = open(&path);
        let mut world = World {
            device: unique("device"),
            peers: BTreeMap::new(),
            truth: BTreeMap::new(),
            unseen: BTreeMap::new(),
            unflushed: Vec::new(),
            now: at("2026-02-27T12:00:00Z"),
        };
        for _ in 0..300 {
            match random.u8(0..24) {
                0 | 1 => {
                    // A key stays its member's; a member has two.
                    let key = random.u8(0..6);
                    let member = ["anna", "ben/x", "carl"][usize::from(key % 3)];
                    world.peers.entry(key).or_insert((member, Counters::default()));
                }
                2 => {
                    // A peer is removed, and perhaps added again at once.
                    world.sample(&accounts);
                    world.flush(&accounts);
                    let key = random.u8(0..6);
                    if let Some((member, _)) = world.peers.remove(&key) {
                        accounts.forget(&[key; 32]);
                        if random.bool() {
                            world.peers.insert(key, (member, Counters::default()));
                        }
                    }
                }
                3 => {
                    world.sample(&accounts);
                    world.flush(&accounts);
                    world.device = unique("device");
                    world
                        .peers
                        .values_mut()
                        .for_each(|(_, counters)| *counters = Counters::default());
                }
                4 => {
                    drop(accounts);
                    world.kill();
                    accounts = open(&path);
                }
                5 => world.now += jiff::SignedDuration::from_mins(random.i64(-200..300)),
                6 | 7 => world.flush(&accounts),
                8..=12 => world.sample(&accounts),
                _ => {
                    let grown = Counters {
                        rx_bytes: random.u64(0..1_000),
                        tx_bytes: random.u64(0..1_000),
                        rx_packets: random.u64(0..10),
                        tx_packets: random.u64(0..10),
                    };
                    if let Some((member, counters)) = world.peers.get_mut(&random.u8(0..6)) {
                        counters.add(&grown);
                        world.unseen.entry(member).or_default().add(&grown);
                    }
                }
            }
            if random.u8(0..10) == 0 {
                for period in [Period::Day, Period::Week, Period::Month] {
                    let range = period.around(world.now);
                    let truth = world.total(|hour| range.contains(&hour.begin()));
                    for members in [&["anna"][..], &["ben/x", "anna"], &["nobody"]] {
                        let mut sum = Counters::default();
                        members
                            .iter()
                            .filter_map(|member| truth.get(*member))
                            .for_each(|counters| sum.add(counters));
                        assert_eq!(accounts.used(members, period, world.now).unwrap(), sum, "seed {seed}");
                    }
                }
            }
        }
        world.sample(&accounts);
        assert_sums(&accounts, &world);
        world.flush(&accounts);
        assert_sums(&accounts, &world);
        drop(accounts);
        assert_sums(&open(&path), &world);
        assert!(world.truth.len() > 10, "seed {seed} met what it is for");
    }
}

fn assert_sums(accounts: &Accounting, world: &World) {
    assert_eq!(accounts.usage(Timestamp::MIN, Timestamp::MAX).unwrap(), world.total(|_| true));
    let begin = world.now - jiff::SignedDuration::from_hours(30);
    let lately = world.total(|hour| Hour::of(begin) <= hour && hour <= Hour::of(world.now));
    assert_eq!(accounts.usage(begin, world.now).unwrap(), lately);
    let hours = accounts.by_hour(begin, world.now, |member| member == "anna").unwrap();
    let mut sum = Counters::default();
    hours.values().for_each(|counters| sum.add(counters));
    assert_eq!(sum, lately.get("anna").copied().unwrap_or_default());
}

#[test]
fn a_year_is_kept_and_a_leaping_clock_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("usage.redb");
    let accounts = open(&path);
    let mut now = at("2026-01-01T00:30:00Z");
    let mut bytes = 0;
    let mut hour = |accounts: &Accounting, now: Timestamp| {
        bytes += 10;
        accounts.observe("d", &[sample("anna", 1, bytes)], now);
        accounts.flush(now).unwrap();
    };
    for _ in 0..30 {
        hour(&accounts, now);
        now += jiff::SignedDuration::from_hours(1);
    }
    // Nine years ahead for a moment: nothing is thrown away because of it.
    hour(&accounts, at("2035-01-01T00:00:00Z"));
    let all = || accounts.by_hour(Timestamp::MIN, Timestamp::MAX, |_| true).unwrap().len();
    assert_eq!(all(), 31);
    // Really a year later, and used for a day.
    now += jiff::SignedDuration::from_hours(KEPT_HOURS);
    for _ in 0..24 {
        hour(&accounts, now);
        now += jiff::SignedDuration::from_hours(1);
    }
    assert!(
        accounts.usage(Timestamp::MIN, at("2026-01-02T00:00:00Z")).unwrap().is_empty(),
        "the first day is gone"
    );
    assert_eq!(
        all(),
        6 + 1 + 24 - 6,
        "of the second day, what is more than a year ago is gone"
    );
}

#[test]
fn groups_and_damage() {
    let usage: BTreeMap<String, Counters> = [("anna", 2), ("ben", 4)]
        .map(|(member, bytes)| (member.into(), sample(member, 1, bytes).counters))
        .into();
    let both: BTreeSet<String> = ["anna".into(), "ben".into(), "gone".into()].into();
    let none = BTreeSet::new();
    let groups = by_group(&usage, [("both", &both), ("none", &none)]);
    assert_eq!((groups["both"].bytes(), groups["none"].bytes()), (9, 0));

    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("usage.redb")).unwrap());
    store.commit(Txn::new().put("seen/AAAA", [0; 32])).unwrap();
    let refused = Accounting::open(store).err().unwrap();
    assert!(refused.to_string().contains("`seen/AAAA`"), "{refused}");
}
