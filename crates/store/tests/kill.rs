//! A process that commits is killed at random moments, over and over: what it was told is committed is there, and no half of
//! anything else.
//!
//! `FIELATO_KILL_ROUNDS=200` for as many rounds; 20 without.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fielato_store::{Embedded, Options, Revision, Store, Txn};

const FILE: &str = "FIELATO_KILL_STORE";
const KEYS: u64 = 16;
/// So small that the history is trimmed in each commit.
const OPTIONS: Options = Options {
    history: 8,
    history_bytes: 2_000_000,
    cache: 1 << 20,
};

/// What the commit that makes a revision writes: all keys, each with a text that names the revision, of a length that makes
/// the file grow and shrink.
fn value(revision: u64, key: u64) -> Vec<u8> {
    let length = (revision * 7919 + key * 104_729) % 6_000;
    format!("{revision} {key} ").into_bytes().repeat(1 + length as usize / 8)
}

/// Every third commit removes half of the keys.
fn is_removed(revision: u64, key: u64) -> bool {
    revision.is_multiple_of(3) && key.is_multiple_of(2)
}

fn txn(revision: u64) -> Txn {
    let mut txn = Txn::new();
    for key in 0..KEYS {
        txn = if is_removed(revision, key) {
            txn.delete(format!("key/{key:02}"))
        } else {
            txn.put(format!("key/{key:02}"), value(revision, key))
        };
    }
    txn
}

/// Not a test: the process that is killed. It says each revision as soon as it is committed.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let store = Embedded::open_with(Path::new(&path), OPTIONS).unwrap();
    let mut output = std::io::stdout();
    let mut last = store.revision().unwrap().0;
    writeln!(output, "\nrevision {last}").unwrap();
    loop {
        let revision = store.commit(txn(last + 1)).unwrap();
        assert_eq!(revision, Revision(last + 1));
        last += 1;
        writeln!(output, "revision {last}").unwrap();
    }
}

fn check(path: &Path, told: u64) -> u64 {
    let store = Embedded::open_with(path, OPTIONS).unwrap();
    let (Revision(found), entries) = store.list("").unwrap();
    assert!(found == told || found == told + 1, "revision {found}, and {told} was told");
    let expected: Vec<(String, Vec<u8>)> = (0..KEYS)
        .filter(|key| found > 0 && !is_removed(found, *key))
        .map(|key| (format!("key/{key:02}"), value(found, key)))
        .collect();
    let entries: Vec<(String, Vec<u8>)> = entries.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    assert!(entries == expected, "revision {found} is whole");
    let from = found.saturating_sub(2).max(1);
    let watch = store.watch("", Revision(from)).unwrap();
    for revision in from..=found {
        let commit = watch.try_next().unwrap().unwrap();
        assert_eq!(commit.revision, Revision(revision));
        assert_eq!(commit.changes.len() as u64, KEYS);
    }
    found
}

#[test]
fn killed_at_random_moments() {
    let rounds = std::env::var("FIELATO_KILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut random = fastrand::Rng::with_seed(rounds);
    let mut told = 0;
    let mut unheard = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix("revision ")?.parse().ok()).last()
        });
        // Some are killed while they open the store, or even begin it.
        std::thread::sleep(Duration::from_micros(random.u64(0..150_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        told = reader.join().unwrap().unwrap_or(told).max(told);
        if !path.exists() {
            assert_eq!(told, 0);
            continue;
        }
        let found = check(&path, told);
        unheard += u64::from(found != told);
        println!("round {round}: revision {found}, {told} was told");
        told = found;
    }
    println!("{unheard} of {rounds} were killed between the commit and the word");
    assert!(told > rounds, "{told} commits in {rounds} rounds");
}
