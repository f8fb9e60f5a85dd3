//! Files that something else has written to: the store says so, or holds what was committed; it never panics, never holds less.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fielato_store::{Embedded, Entry, Error, Options, Revision, Store, Txn};

/// The one bit that nothing vouches for: which of the header's two whole states is the newer. (The other is the one before the
/// last commit; a store that was closed has the same contents in both.)
const NEWER: usize = 9 * 8;

type Contents = (Revision, Vec<(String, Entry)>);

/// In memory where there is such a folder: these tests sync much, and nobody cuts the power.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// A store with entries, overwritten and removed ones, a history, leases: as it is when its process is killed, or closes it.
fn fill(path: &Path, killed: bool) -> Contents {
    let store = Embedded::open(path).unwrap();
    let lease = store.grant(Duration::from_secs(9), Instant::now()).unwrap();
    for number in 0..40u32 {
        let value = number.to_le_bytes().repeat(30);
        let mut txn = Txn::new().put(format!("key/{}", number % 13), value);
        if number % 5 == 0 {
            txn = txn.put_leased(format!("leased/{number}"), "x", lease);
        }
        if number % 7 == 0 {
            txn = txn.delete(format!("key/{}", (number + 1) % 13));
        }
        store.commit(txn).unwrap();
    }
    let contents = store.list("").unwrap();
    if killed {
        let bytes = fs::read(path).unwrap();
        drop(store);
        fs::write(path, bytes).unwrap();
    }
    contents
}

/// What the damaged file is taken for: refused as damaged (true), or as it was.
fn refused(path: &Path, contents: &Contents, what: &str) -> bool {
    match Embedded::open(path) {
        Err(Error::Corrupt { path: named, .. }) => {
            assert_eq!(named, path, "{what}");
            true
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(store) => {
            assert!(
                store.list("").unwrap() == *contents,
                "{what}: another content is taken for the store's"
            );
            let history = store.watch("", Revision(1)).unwrap();
            let mut commits = 0;
            while history.try_next().unwrap().is_some() {
                commits += 1;
            }
            assert_eq!(commits, contents.0.0, "{what}: the history is whole");
            store.commit(Txn::new().put("after", "x")).unwrap();
            false
        }
    }
}

#[test]
fn flipped_bits() {
    flip(false);
}

#[test]
fn flipped_bits_after_a_kill() {
    flip(true);
}

fn flip(killed: bool) {
    let dir = scratch().unwrap();
    let path = dir.path().join("store.redb");
    let contents = fill(&path, killed);
    let whole = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    // Every bit of redb's magic number and of the flags behind it; then the rest of the header; then anywhere.
    let mut places: Vec<usize> = (0..16 * 8).collect();
    places.extend((16..320).map(|byte| byte * 8 + random.usize(0..8)));
    places.extend((0..200).map(|_| random.usize(0..whole.len() * 8)));
    let mut count = 0;
    for &place in &places {
        let mut damaged = whole.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        fs::write(&path, &damaged).unwrap();
        if killed && place == NEWER {
            let found = Embedded::open(&path).map(|store| store.list("").unwrap().0.0);
            assert!(found.is_err() || found.is_ok_and(|found| found + 1 >= contents.0.0));
            continue;
        }
        count += usize::from(refused(&path, &contents, &format!("bit {} of byte {}", place % 8, place / 8)));
    }
    assert!(
        count > places.len() / 4,
        "{count} of {} were seen; the others are in unused space",
        places.len()
    );
}

#[test]
fn cut_anywhere() {
    let dir = scratch().unwrap();
    let path = dir.path().join("store.redb");
    let contents = fill(&path, false);
    let whole = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let pages = (0..whole.len()).step_by(4096);
    let anywhere: Vec<usize> = (0..100).map(|_| random.usize(0..whole.len())).collect();
    let mut seen = 0;
    for length in pages.chain(anywhere).chain([1, 9, 63, 64, 319, 320]) {
        fs::write(&path, &whole[..length]).unwrap();
        seen += usize::from(refused(&path, &contents, &format!("cut at {length} of {}", whole.len())));
    }
    assert!(seen > 50, "{seen} were seen");
}

#[test]
fn overwritten_blocks_and_other_files() {
    let dir = scratch().unwrap();
    let path = dir.path().join("store.redb");
    let contents = fill(&path, false);
    let whole = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    for begin in (0..whole.len()).step_by(4096) {
        for fill in [0, 0xff, random.u8(..)] {
            let mut damaged = whole.clone();
            let end = (begin + random.usize(1..4096)).min(whole.len());
            damaged[begin..end].fill(fill);
            fs::write(&path, &damaged).unwrap();
            refused(&path, &contents, &format!("{begin}..{end} are {fill}"));
        }
    }
    let noise: Vec<u8> = (0..whole.len()).map(|_| random.u8(..)).collect();
    for bytes in [b"".to_vec(), b"[hub]\n".to_vec(), vec![0; 8192], noise] {
        fs::write(&path, &bytes).unwrap();
        assert!(refused(&path, &contents, "another file"));
    }
}

#[test]
fn a_damaged_store_is_set_aside() {
    let dir = scratch().unwrap();
    let path = dir.path().join("store.redb");
    for number in 1..=2 {
        fs::write(&path, format!("damage {number}")).unwrap();
        let said = Embedded::open(&path).unwrap_err().to_string();
        assert!(
            said.contains(&path.display().to_string()) && said.contains("move it away"),
            "{said}"
        );
        let (store, beside) = Embedded::set_aside(&path, Options::default()).unwrap();
        assert_eq!(beside, dir.path().join(format!("store.redb.damaged-{number}")));
        assert_eq!(fs::read(&beside).unwrap(), format!("damage {number}").as_bytes());
        assert_eq!(store.commit(Txn::new().put("k", "v")).unwrap(), Revision(1));
    }
    let (store, damage) = Embedded::open_or_set_aside(&path, Options::default()).unwrap();
    assert!(damage.is_none() && store.get("k").unwrap().is_some());
    drop(store);
    fs::write(&path, "damage 3").unwrap();
    let (store, damage) = Embedded::open_or_set_aside(&path, Options::default()).unwrap();
    assert_eq!(store.get("k").unwrap(), None);
    let (beside, error) = damage.unwrap();
    assert!(beside.ends_with("store.redb.damaged-3") && matches!(error, Error::Corrupt { .. }));
}
