//! Random operations on the store and on a model of a few lines: the same answers, also after it was closed and opened anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fielato_store::{Commit, CommitError, Embedded, Entry, Error, LeaseId, Options, Revision, Store, Txn, Watch};

const KEYS: [&str; 7] = ["a", "a/1", "a/2", "a/20", "b/1", "b/ü", "c"];
const PREFIXES: [&str; 5] = ["", "a", "a/", "b/", "d"];
const OPTIONS: Options = Options {
    history: 20,
    history_bytes: 2_000,
    cache: 1 << 20,
};

#[derive(Default)]
struct Model {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    commits: Vec<(u64, BTreeMap<String, Option<Entry>>)>,
    leases: BTreeMap<LeaseId, (Duration, Option<Instant>)>,
}

type Put = (Vec<u8>, Option<LeaseId>);

/// A transaction in the model's terms.
struct Plan {
    compares: Vec<(String, Option<Revision>)>,
    /// Key to value and lease, or to none for a delete.
    changes: BTreeMap<String, Option<Put>>,
}

impl Model {
    fn commit(&mut self, plan: &Plan) -> Result<u64, (String, Option<Revision>)> {
        for (key, expected) in &plan.compares {
            let found = self.entries.get(key).map(|entry| entry.revision);
            if found != *expected {
                return Err((key.clone(), found));
            }
        }
        let next = self.revision + 1;
        let mut changed = BTreeMap::new();
        for (key, change) in &plan.changes {
            let entry = change.clone().map(|(value, lease)| Entry {
                value,
                revision: Revision(next),
                lease,
            });
            match &entry {
                Some(entry) => drop(self.entries.insert(key.clone(), entry.clone())),
                None if self.entries.remove(key).is_none() => continue,
                None => {}
            }
            changed.insert(key.clone(), entry);
        }
        if !changed.is_empty() {
            self.revision = next;
            self.commits.push((next, changed));
        }
        Ok(self.revision)
    }

    fn end(&mut self, ended: &[LeaseId]) {
        let changes = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.lease.is_some_and(|lease| ended.contains(&lease)))
            .map(|(key, _)| (key.clone(), None))
            .collect();
        let plan = Plan {
            compares: Vec::new(),
            changes,
        };
        self.commit(&plan).unwrap();
        self.leases.retain(|id, _| !ended.contains(id));
    }

    fn below(&self, prefix: &str) -> Vec<(String, Entry)> {
        let below = self.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        below.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// What a watch of `prefix` sees of revisions from `from` on.
    fn seen(&self, prefix: &str, from: u64) -> Vec<(u64, BTreeMap<String, Option<Entry>>)> {
        let commits = self.commits.iter().filter(|(revision, _)| *revision >= from);
        let seen = commits.map(|(revision, changed)| {
            let changed = changed.iter().filter(|(key, _)| key.starts_with(prefix));
            (*revision, changed.map(|(key, entry)| (key.clone(), entry.clone())).collect())
        });
        seen.filter(|(_, changed): &(u64, BTreeMap<_, _>)| !changed.is_empty())
            .collect()
    }
}

fn random_plan(random: &mut fastrand::Rng, model: &Model) -> Plan {
    let key = |random: &mut fastrand::Rng| KEYS[random.usize(..KEYS.len())].to_owned();
    let mut plan = Plan {
        compares: Vec::new(),
        changes: BTreeMap::new(),
    };
    for _ in 0..random.usize(0..3) {
        let key = key(random);
        let found = model.entries.get(&key).map(|entry| entry.revision);
        let expected = if random.u8(0..5) == 0 {
            Some(Revision(random.u64(0..=model.revision + 1)))
        } else {
            found
        };
        plan.compares.push((key, expected));
    }
    for _ in 0..random.usize(0..4) {
        let lease = random.bool().then(|| random.choice(model.leases.keys()).copied()).flatten();
        let value = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        let change = (random.u8(0..3) > 0).then_some((value, lease));
        plan.changes.insert(key(random), change);
    }
    plan
}

fn as_txn(plan: &Plan) -> Txn {
    let mut txn = Txn::new();
    for (key, expected) in &plan.compares {
        txn = txn.expect_as_read(key, *expected);
    }
    for (key, change) in &plan.changes {
        txn = match change {
            Some((value, Some(lease))) => txn.put_leased(key, value.clone(), *lease),
            Some((value, None)) => txn.put(key, value.clone()),
            None => txn.delete(key),
        };
    }
    txn
}

fn taken(watch: &Watch) -> Vec<(u64, BTreeMap<String, Option<Entry>>)> {
    let mut seen = Vec::new();
    while let Some(Commit { revision, changes }) = watch.try_next().unwrap() {
        let changes = changes.into_iter().map(|change| (change.key, change.entry));
        seen.push((revision.0, changes.collect()));
    }
    seen
}

#[test]
fn the_same_answers_as_the_model() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let mut store = Embedded::open_with(&path, OPTIONS).unwrap();
        let mut model = Model::default();
        let mut now = Instant::now();
        let mut watches: Vec<(&str, u64, Watch)> = Vec::new();
        let mut compacted = 0;
        for _ in 0..300 {
            match random.u8(0..20) {
                0 => {
                    watches.clear();
                    drop(store);
                    store = Embedded::open_with(&path, OPTIONS).unwrap();
                    for (_, ends) in model.leases.values_mut() {
                        *ends = None;
                    }
                }
                1 => {
                    let ttl = Duration::from_secs(random.u64(1..20));
                    let lease = store.grant(ttl, now).unwrap();
                    assert_eq!(
                        model.leases.insert(lease, (ttl, Some(now + ttl))),
                        None,
                        "a number is given once"
                    );
                }
                2 => {
                    let lease = LeaseId(random.u64(1..10));
                    match model.leases.get_mut(&lease) {
                        Some((ttl, ends)) => {
                            store.keep_alive(lease, now).unwrap();
                            *ends = Some(now + *ttl);
                        }
                        None => assert!(matches!(store.keep_alive(lease, now), Err(Error::NoLease(_)))),
                    }
                }
                3 => {
                    let lease = LeaseId(random.u64(1..10));
                    let revoked = store.revoke(lease);
                    if model.leases.contains_key(&lease) {
                        model.end(&[lease]);
                        assert_eq!(revoked.unwrap(), Revision(model.revision));
                    } else {
                        assert!(matches!(revoked, Err(Error::NoLease(_))));
                    }
                }
                4 | 5 => {
                    now += Duration::from_secs(random.u64(0..6));
                    let over = |(_, (_, ends)): &(&LeaseId, &(Duration, Option<Instant>))| ends.is_some_and(|ends| ends <= now);
                    let ended: Vec<LeaseId> = model.leases.iter().filter(over).map(|(id, _)| *id).collect();
                    assert_eq!(store.expire(now).unwrap(), ended);
                    model.end(&ended);
                    for (ttl, ends) in model.leases.values_mut() {
                        ends.get_or_insert(now + *ttl);
                    }
                }
                6 => {
                    let prefix = PREFIXES[random.usize(..PREFIXES.len())];
                    let from = random.u64(0..=model.revision + 2);
                    match store.watch(prefix, Revision(from)) {
                        Ok(watch) => {
                            assert!(from > compacted || compacted == 0, "{from} was forgotten already");
                            watches.push((prefix, from, watch));
                        }
                        Err(Error::Compacted { from: asked, oldest }) => {
                            assert_eq!(asked, Revision(from));
                            assert!(oldest > Revision(from) && oldest.0 > compacted, "it never remembers again");
                            assert!(oldest.0 + 4 <= model.revision + 2 || model.revision < 6, "it remembers some");
                            compacted = oldest.0 - 1;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                _ => {
                    let plan = random_plan(&mut random, &model);
                    match (store.commit(as_txn(&plan)), model.commit(&plan)) {
                        (Ok(revision), Ok(expected)) => assert_eq!(revision, Revision(expected)),
                        (Err(CommitError::Conflict { key, found, .. }), Err(expected)) => assert_eq!((key, found), expected),
                        (answer, expected) => panic!("{answer:?}, and {expected:?} in the model"),
                    }
                }
            }
            assert_eq!(store.revision().unwrap(), Revision(model.revision));
            let prefix = PREFIXES[random.usize(..PREFIXES.len())];
            assert_eq!(store.list(prefix).unwrap(), (Revision(model.revision), model.below(prefix)));
            let key = KEYS[random.usize(..KEYS.len())];
            assert_eq!(store.get(key).unwrap().as_ref(), model.entries.get(key));
            for (prefix, from, watch) in &mut watches {
                assert_eq!(taken(watch), model.seen(prefix, *from));
                *from = model.revision.max((*from).saturating_sub(1)) + 1;
            }
        }
        assert!(model.revision > 100 && compacted > 0, "seed {seed} met what it is for");
    }
}

#[test]
fn a_lease_that_is_no_more_takes_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
    let now = Instant::now();
    let lease = store.grant(Duration::from_secs(1), now).unwrap();
    store.revoke(lease).unwrap();
    let refused = store.commit(Txn::new().put("before", "x").put_leased("k", "v", lease));
    assert!(matches!(refused, Err(CommitError::Store(Error::NoLease(_)))));
    assert_eq!(store.list("").unwrap(), (Revision(0), Vec::new()), "nothing of it was made");
}

#[test]
fn a_store_without_history_watches_the_present() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history: 0, ..OPTIONS };
    let store = Embedded::open_with(&dir.path().join("store.redb"), options).unwrap();
    let first = store.commit(Txn::new().put("k", "1")).unwrap();
    assert!(matches!(store.watch("", first), Err(Error::Compacted { .. })));
    let watch = store.watch("", first.next()).unwrap();
    let second = store.commit(Txn::new().put("k", "2")).unwrap();
    assert_eq!(watch.try_next().unwrap().map(|commit| commit.revision), Some(second));
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    assert!(matches!(Embedded::open(&path), Err(Error::Locked(_))));
    assert!(matches!(Embedded::set_aside(&path, OPTIONS), Err(Error::Locked(_))));
    drop(store);
    Embedded::open(&path).unwrap();
}

/// Threads that count together by compare-and-swap lose no step, and a watch sees each once.
#[test]
fn threads_that_compare_and_swap() {
    const THREADS: u64 = 4;
    const STEPS: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
    store.commit(Txn::new().put("count", 0u64.to_le_bytes())).unwrap();
    let watch = store.watch("count", Revision(2)).unwrap();
    let step = || {
        loop {
            let entry = store.get("count").unwrap().unwrap();
            let count = u64::from_le_bytes(entry.value.try_into().unwrap());
            match store.commit(
                Txn::new()
                    .expect("count", entry.revision)
                    .put("count", (count + 1).to_le_bytes()),
            ) {
                Ok(_) => return,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..STEPS).for_each(|_| step()));
        }
        for count in 1..=THREADS * STEPS {
            let commit = watch.next(Duration::from_secs(60)).unwrap().unwrap();
            let entry = commit.changes[0].entry.as_ref().unwrap();
            assert_eq!(
                (commit.revision, &entry.value[..]),
                (Revision(count + 1), &count.to_le_bytes()[..])
            );
        }
    });
    assert_eq!(watch.try_next().unwrap(), None);
}
