//! A full disk: changes are refused, nothing is half, reads go on, and it works again when there is space.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fielato_store::{CommitError, Embedded, Error, Options, Revision, Store, Txn};

fn is_full(error: &CommitError) -> bool {
    matches!(error, CommitError::Store(Error::Full(_)))
}

/// Takes all space that is left.
fn fill_up(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 4096] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn refused_and_nothing_half() {
    let Some(dir) = fielato_testkit::small_disk("refused_and_nothing_half", 1 << 20) else {
        return;
    };
    let path = dir.join("store.redb");
    let options = Options {
        history_bytes: 50_000,
        ..Options::default()
    };
    let store = Embedded::open_with(&path, options).unwrap();
    let now = Instant::now();
    let lease = store.grant(Duration::from_secs(1), now).unwrap();
    store
        .commit(Txn::new().put("small", "1").put_leased("leased", "x", lease))
        .unwrap();
    let filler = fill_up(&dir);

    // It may go on within the space that the file has; a large value has no place there.
    let before = store.list("").unwrap();
    let watch = store.watch("", before.0.next()).unwrap();
    for _ in 0..5 {
        let refused = store
            .commit(Txn::new().put("large", vec![7; 900_000]).put("small", "2"))
            .unwrap_err();
        assert!(is_full(&refused), "{refused}");
        assert!(refused.to_string().contains("no space is left"), "{refused}");
        assert_eq!(store.list("").unwrap(), before, "nothing of it is there, and reads go on");
        assert_eq!(store.get("small").unwrap().unwrap().value, b"1");
    }
    assert_eq!(watch.try_next().unwrap(), None, "nobody was told of what is not");

    // Small changes, until they are refused too.
    let mut last = before.0;
    let refused = loop {
        match store.commit(Txn::new().put(format!("k/{last}"), vec![1; 2_000])) {
            Ok(revision) => last = revision,
            Err(refused) => break refused,
        }
        assert!(last.0 < 2_000, "the disk is full at some time");
    };
    assert!(is_full(&refused), "{refused}");
    assert_eq!(store.revision().unwrap(), last);
    let full = store.list("").unwrap();

    // A restart on the full disk.
    drop((store, watch));
    let store = Embedded::open_with(&path, options).unwrap();
    assert_eq!(store.list("").unwrap(), full);
    let refused = store.commit(Txn::new().put("large", vec![7; 900_000])).unwrap_err();
    assert!(is_full(&refused), "{refused}");

    fs::remove_file(filler).unwrap();
    let watch = store.watch("", last.next()).unwrap();
    let large = store.commit(Txn::new().put("large", vec![7; 300_000])).unwrap();
    assert_eq!(large, last.next(), "refused commits have used up no revision");
    assert_eq!(watch.try_next().unwrap().map(|commit| commit.revision), Some(large));
    assert_eq!(store.expire(now).unwrap(), []);
    let ended = store.expire(now + Duration::from_secs(100)).unwrap();
    assert!(ended.contains(&lease));
    assert_eq!(store.get("leased").unwrap(), None);
    let all = store.list("").unwrap();
    drop(store);
    assert_eq!(Embedded::open_with(&path, options).unwrap().list("").unwrap(), all);
}

#[test]
fn a_new_store_is_not_begun_by_half() {
    let Some(dir) = fielato_testkit::small_disk("a_new_store_is_not_begun_by_half", 1 << 20) else {
        return;
    };
    let path = dir.join("store.redb");
    let filler = fill_up(&dir);
    assert!(matches!(Embedded::open(&path), Err(Error::Full(_) | Error::Io { .. })));
    assert!(!path.exists());
    fs::remove_file(filler).unwrap();
    assert_eq!(Embedded::open(&path).unwrap().revision().unwrap(), Revision(0));
}
