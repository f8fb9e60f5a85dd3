use std::path::Path;

use fielato_policy::config::Quota;
use fielato_store::Embedded;

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

/// A device that counts both.
fn lives(name: &str) -> Lives {
    Lives {
        device: name.into(),
        packets: Some(name.into()),
    }
}

/// A hub as it is, which knows the truth.
struct World {
    device: String,
    /// What counts packets, and whether it is asked.
    counting: (String, bool),
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
                counters: Counters {
                    packets: counters.packets.filter(|_| self.counting.1),
                    ..*counters
                },
            })
            .collect();
        let lives = Lives {
            device: self.device.clone(),
            packets: self.counting.1.then(|| self.counting.0.clone()),
        };
        accounts.observe(&lives, &samples, self.now);
        let hour = Hour::of(self.now);
        for (member, counters) in std::mem::take(&mut self.unseen) {
            let mut seen = counters;
            if self.counting.1 {
                // Also when what they were was lost.
                seen.packets.get_or_insert_default();
            } else if let Some(packets) = seen.packets.take() {
                // They are seen when somebody asks again.
                self.unseen.entry(member).or_default().packets = Some(packets);
            }
            self.unflushed.push((hour, member, seen));
        }
    }

    /// What counted packets is gone, and another one counts. What the first had to tell is lost, if nobody asked.
    fn count_anew(&mut self, name: u64) {
        self.counting.0 = format!("counting {name}");
        self.peers
            .values_mut()
            .for_each(|(_, counters)| counters.packets = Some(Packets::default()));
        self.unseen.values_mut().for_each(|counters| counters.packets = None);
        self.unseen.retain(|_, counters| *counters != Counters::default());
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
    for seed in 0..5 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.redb");
        let mut accounts = open(&path);
        let mut world = World {
            device: format!("device {}", random.u64(..)),
            counting: ("first".into(), true),
            peers: BTreeMap::new(),
            truth: BTreeMap::new(),
            unseen: BTreeMap::new(),
            unflushed: Vec::new(),
            now: at("2026-02-27T12:00:00Z"),
        };
        for _ in 0..300 {
            match random.u8(0..30) {
                0 | 1 => {
                    // A key stays its member's; a member has two.
                    let key = random.u8(0..6);
                    let member = ["anna", "ben/x", "carl"][usize::from(key % 3)];
                    world.peers.entry(key).or_insert((member, counted_none()));
                }
                2 => {
                    // A peer is removed, and perhaps added again at once.
                    world.counting.1 = true;
                    world.sample(&accounts);
                    world.flush(&accounts);
                    let key = random.u8(0..6);
                    if let Some((member, _)) = world.peers.remove(&key) {
                        accounts.forget(&[key; 32]);
                        if random.bool() {
                            world.peers.insert(key, (member, counted_none()));
                        }
                    }
                }
                3 => {
                    // The interface is made anew, and with it, or without, what counts packets.
                    world.sample(&accounts);
                    world.flush(&accounts);
                    world.device = format!("device {}", random.u64(..));
                    world
                        .peers
                        .values_mut()
                        .for_each(|(_, counters)| (counters.rx_bytes, counters.tx_bytes) = (0, 0));
                    if random.bool() {
                        world.count_anew(random.u64(..));
                    }
                }
                26 => {
                    if random.bool() {
                        world.sample(&accounts);
                        world.flush(&accounts);
                    } else {
                        drop(accounts);
                        world.kill();
                        accounts = open(&path);
                    }
                    world.count_anew(random.u64(..));
                }
                27 => world.counting.1 = !world.counting.1,
                4 => {
                    drop(accounts);
                    world.kill();
                    accounts = open(&path);
                }
                5 | 24 | 25 => world.now += jiff::SignedDuration::from_mins(random.i64(-200..300)),
                6 | 7 => world.flush(&accounts),
                8..=12 => world.sample(&accounts),
                _ => {
                    let grown = Counters {
                        rx_bytes: random.u64(0..1_000),
                        tx_bytes: random.u64(0..1_000),
                        packets: Some(Packets {
                            rx: random.u64(1..10),
                            tx: random.u64(0..10),
                        }),
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
        accounts.observe(&lives("d"), &[sample("anna", 1, bytes)], now);
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
fn hours_that_are_over_are_packed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("usage.redb")).unwrap());
    let mut accounts = Accounting::open(store.clone()).unwrap();
    let first = at("2026-01-01T00:30:00Z");
    let later = at("2026-01-01T01:30:00Z");
    let keys = || store.list("sums/").unwrap().1.len() + 100 * store.list("packed/").unwrap().1.len();
    let step = |accounts: &Accounting, bytes: u64, now: Timestamp| {
        let samples = [sample("anna", 1, bytes), sample("ben", 2, bytes)];
        accounts.observe(&lives("d"), &samples, now);
        accounts.flush(now).unwrap();
        let sums = accounts.usage(first, first).unwrap();
        let counted = sums.get("ben").map_or(0, |counters| counters.rx_bytes);
        (keys(), counted)
    };
    assert_eq!(step(&accounts, 10, first), (2, 10));
    // The next one packs what an earlier daemon has written.
    accounts = Accounting::open(store.clone()).unwrap();
    assert_eq!(step(&accounts, 20, later), (102, 10));
    // The clock goes back: into an hour that was packed, and is packed again.
    assert_eq!(step(&accounts, 25, first), (202, 15));
    accounts = Accounting::open(store.clone()).unwrap();
    assert_eq!(step(&accounts, 26, first), (202, 16));
    assert_eq!(step(&accounts, 30, later), (202, 16));
    assert_eq!(accounts.usage(first, later).unwrap()["anna"].rx_bytes, 30);
}

/// A hub with so many members that an hour takes several values.
#[test]
fn many_members() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("usage.redb");
    let accounts = open(&path);
    let names: Vec<String> = (0..30_000).map(|number| format!("member-{number:050}")).collect();
    let samples = |bytes: u64| -> Vec<Sample<'_>> {
        names
            .iter()
            .enumerate()
            .map(|(number, member)| {
                let mut key = [0; 32];
                key[..8].copy_from_slice(&(number as u64).to_le_bytes());
                let counters = Counters {
                    rx_bytes: bytes + number as u64,
                    ..Counters::default()
                };
                Sample { member, key, counters }
            })
            .collect()
    };
    let first = at("2026-01-01T00:30:00Z");
    let later = at("2026-01-01T01:30:00Z");
    accounts.observe(&lives("d"), &samples(1_000), first);
    accounts.flush(first).unwrap();
    accounts.observe(&lives("d"), &samples(1_007), later);
    accounts.flush(later).unwrap();
    drop(accounts);
    let accounts = open(&path);
    let sums = accounts.usage(first, first).unwrap();
    assert_eq!(sums.len(), names.len());
    assert_eq!(sums[&names[29_999]].rx_bytes, 30_999);
    assert_eq!(accounts.usage(first, later).unwrap()[&names[29_999]].rx_bytes, 31_006);
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(dir) = fielato_testkit::small_disk("accounting::tests::a_full_disk_loses_nothing", 2 << 20) else {
        return;
    };
    let path = dir.join("usage.redb");
    let accounts = open(&path);
    let names: Vec<String> = (0..2_000).map(|number| format!("member-{number}")).collect();
    let now = at("2026-01-01T00:30:00Z");
    let observe = |bytes| {
        let samples: Vec<Sample<'_>> = (0u32..)
            .zip(&names)
            .map(|(number, member)| {
                let mut sample = sample(member, 0, bytes);
                sample.key[..4].copy_from_slice(&number.to_le_bytes());
                sample
            })
            .collect();
        accounts.observe(&lives("d"), &samples, now);
    };
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![0; 1_700_000]).unwrap();
    observe(10);
    let refused = accounts.flush(now).unwrap_err();
    assert!(format!("{refused:#}").contains("no space is left"), "{refused:#}");
    observe(30);
    assert!(accounts.flush(now).is_err());
    assert_eq!(
        accounts.usage(now, now).unwrap()["member-7"].rx_bytes,
        30,
        "it counts on meanwhile"
    );
    std::fs::remove_file(filler).unwrap();
    observe(35);
    accounts.flush(now).unwrap();
    drop(accounts);
    assert_eq!(open(&path).usage(now, now).unwrap()["member-1999"].rx_bytes, 35);
}

/// A peer that nothing has come from or gone to.
fn counted_none() -> Counters {
    Counters {
        packets: Some(Packets::default()),
        ..Counters::default()
    }
}

/// Three members; two of them, and a third group, are in `lab`.
fn config() -> Config {
    let member = |name: &str, number: u8, groups: &str| {
        let key = base64::engine::general_purpose::STANDARD.encode([number; 32]);
        format!("[member.{name}]\npublic_key = \"{key}\"\naddresses = [\"10.0.0.{number}\"]\ngroups = {groups}\n")
    };
    let text = [
        "[hub]\ninterface = \"wg0\"\nendpoint = \"192.0.2.1:51820\"\naddresses = [\"10.0.0.1/24\"]\nuplink = \"eth0\"\n".into(),
        member("anna", 2, "[\"lab\"]"),
        member("ben", 3, "[\"lab\"]"),
        member("carl", 4, "[]"),
    ]
    .concat();
    let mut config = Config::parse(&text).unwrap_or_else(|faults| panic!("{}", faults.display("fielato.toml", &text)));
    let quota = |bytes, over| {
        Some(Quota {
            bytes,
            period: Period::Month,
            over,
        })
    };
    config.members.get_mut("anna").unwrap().limits.quota = quota(1_000, Over::Throttle { rate: 5 });
    config.groups.entry("lab".into()).or_default().limits.quota = quota(2_000, Over::Block);
    config
}

#[test]
fn quotas_of_members_and_of_groups() {
    let config = config();
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(&dir.path().join("usage.redb"));
    let now = at("2026-01-31T23:00:00Z");
    let over = |now| accounts.over_quota(&config, now).unwrap().into_iter().collect::<Vec<_>>();
    // Both directions count: one and a half of what is received.
    accounts.observe(&lives("d"), &[sample("anna", 1, 666), sample("ben", 2, 100)], now);
    assert_eq!(over(now), []);
    accounts.observe(
        &lives("d"),
        &[sample("anna", 1, 668), sample("ben", 2, 100), sample("carl", 3, 9_999)],
        now,
    );
    assert_eq!(over(now), [("anna".into(), Over::Throttle { rate: 5 })]);
    accounts.flush(now).unwrap();
    assert_eq!(over(now).len(), 1, "the same from the store");
    accounts.observe(&lives("d"), &[sample("anna", 1, 668), sample("ben", 2, 800)], now);
    assert_eq!(
        over(now),
        [("anna".into(), Over::Block), ("ben".into(), Over::Block)],
        "the stricter of both"
    );
    assert_eq!(over(at("2026-02-01T00:00:00Z")), [], "another month");

    let groups = by_group(&accounts.usage(now, now).unwrap(), &config);
    assert_eq!(groups.len(), 1);
    assert_eq!(groups["lab"].bytes(), 668 + 334 + 800 + 400);
}

#[test]
fn a_damaged_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("usage.redb")).unwrap());
    store.commit(Txn::new().put("seen/AAAA", [0; 32])).unwrap();
    let refused = Accounting::open(store).err().unwrap();
    assert!(refused.to_string().contains("`seen/AAAA`"), "{refused}");
}
