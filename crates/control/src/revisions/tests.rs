use std::fs;
use std::path::Path;

use fielato_store::Embedded;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn files(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

fn open(dir: &Path) -> Revisions {
    let store = Embedded::open(&dir.join("store.redb")).unwrap();
    Revisions::open(Arc::new(store), dir.join("policy")).unwrap()
}

fn new<'a>(files: &'a [(String, String)], confirm_until: Option<i64>) -> NewRevision<'a> {
    NewRevision {
        files,
        author: "anna (uid 1000)",
        message: Some("why"),
        origin: Origin::Apply,
        confirm_until: confirm_until.map(at),
        now: at(1_000),
    }
}

#[test]
fn recorded_confirmed_rolled_back_and_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let revisions = open(dir.path());
    assert_eq!(revisions.current(), None);
    let one = files(&[("fielato.toml", "a = 1\n"), ("conf.d/x.toml", "x\n")]);
    let two = files(&[("fielato.toml", "a = 2\n")]);
    assert_eq!(revisions.record(new(&one, None)).unwrap().number, 1);
    assert!(revisions.is_current(&one) && !revisions.is_current(&two));
    let pending = revisions.record(new(&two, Some(1_060))).unwrap();
    assert_eq!(revisions.pending(), Some((pending.clone(), at(1_060))));
    assert_eq!(revisions.last_good().unwrap().number, 1);
    drop(revisions);

    // The daemon was killed while 2 waited: the next one knows.
    let revisions = open(dir.path());
    assert_eq!(revisions.pending(), Some((pending, at(1_060))));
    revisions.roll_back(2, "nobody confirmed it in time").unwrap();
    assert_eq!(revisions.current().unwrap().number, 1);
    assert!(revisions.is_current(&one));
    let refused = revisions.confirm(2).unwrap_err();
    assert!(refused.to_string().contains("nobody confirmed it in time"), "{refused}");
    let refused = revisions.confirm(1).unwrap_err();
    assert_eq!(refused.downcast_ref(), Some(&WrongState::Confirmed(1)));

    let third = NewRevision {
        origin: Origin::Rollback(1),
        ..new(&one, Some(1_060))
    };
    revisions.record(third).unwrap();
    revisions.confirm(3).unwrap();
    assert_eq!(revisions.last_good().unwrap().number, 3);
    assert_eq!(revisions.text(3).unwrap(), one);
    assert_eq!(revisions.text(2).unwrap(), two);
    let log: Vec<u64> = revisions.log(2).iter().map(|revision| revision.number).collect();
    assert_eq!(log, [3, 2]);
    assert_eq!(revisions.diff(1, 3).unwrap(), "");
    assert!(revisions.diff(1, 2).unwrap().contains("-a = 1\n+a = 2\n"));
    assert_eq!(revisions.diff_to(2, &two).unwrap(), "");
    let missing = revisions.text(9).unwrap_err();
    assert!(missing.to_string().contains("1 to 3 are kept"), "{missing}");
}

#[test]
fn what_still_waits_is_replaced_by_what_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let revisions = open(dir.path());
    let text = |number: u64| files(&[("fielato.toml", &format!("number = {number}\n"))]);
    revisions.record(new(&text(1), None)).unwrap();
    for number in 2..=4 {
        revisions.record(new(&text(number), Some(1_060))).unwrap();
    }
    revisions.roll_back(4, "a test").unwrap();
    assert_eq!(revisions.current().unwrap().number, 3, "it waits, and is in force again");
    revisions.confirm(3).unwrap();
    let replaced = State::RolledBack("replaced by revision 3 before it was confirmed".into());
    assert_eq!(revisions.get(2).unwrap().state, replaced);
    assert_eq!(revisions.get(4).unwrap().state, State::RolledBack("a test".into()));
    revisions.record(new(&text(5), Some(1_060))).unwrap();
    revisions.record(new(&text(6), None)).unwrap();
    assert!(matches!(revisions.get(5).unwrap().state, State::RolledBack(_)));
    assert_eq!(revisions.get(6).unwrap().file_names().collect::<Vec<_>>(), ["fielato.toml"]);
    let all = revisions.log(9);
    drop(revisions);
    assert_eq!(open(dir.path()).log(9), all);
}

#[test]
fn long_texts_come_back_and_equal_ones_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("store.redb")).unwrap());
    let revisions = Revisions::open(store.clone(), dir.path().join("policy")).unwrap();
    // Parts may end within a character.
    let long = files(&[("fielato.toml", &"ü€".repeat(500_000)), ("empty", ""), ("copy", "")]);
    revisions.record(new(&long, None)).unwrap();
    revisions.record(new(&long, None)).unwrap();
    assert_eq!(revisions.text(2).unwrap(), long);
    assert_eq!(store.list(TEXTS).unwrap().1.len(), 3, "2.5 MB in parts of 1 MiB");
}

#[test]
fn the_oldest_go_but_never_the_ones_in_need() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("store.redb")).unwrap());
    let limits = Limits {
        revisions: 4,
        bytes: 100,
    };
    let revisions = Revisions::open_limited(store.clone(), dir.path().join("policy"), limits).unwrap();
    let text = |number: u64| files(&[("fielato.toml", &format!("number = {number}\n"))]);
    revisions.record(new(&text(1), None)).unwrap();
    for number in 2..=9 {
        revisions.record(new(&text(number), Some(1_060))).unwrap();
        revisions.roll_back(number, "a test").unwrap();
    }
    let numbers: Vec<u64> = revisions.log(100).iter().map(|revision| revision.number).collect();
    assert_eq!(numbers, [9, 8, 7, 1], "1 is still the good one");
    assert_eq!(revisions.text(1).unwrap(), text(1));
    assert_eq!(
        store.list(TEXTS).unwrap().1.len(),
        4,
        "texts go with the last revision that has them"
    );
    // By their size, too.
    revisions
        .record(new(&files(&[("fielato.toml", &"x".repeat(80))]), None))
        .unwrap();
    let numbers: Vec<u64> = revisions.log(100).iter().map(|revision| revision.number).collect();
    assert_eq!(numbers, [10, 9], "80 and 11 bytes");
}

#[test]
fn a_damaged_store_leaves_the_last_good_policy() {
    let dir = tempfile::tempdir().unwrap();
    let good = files(&[
        ("fielato.toml", "good = true\n"),
        ("../odd/checksums", "x"),
        ("checksums", "y"),
    ]);
    let revisions = open(dir.path());
    revisions.record(new(&files(&[("fielato.toml", "first\n")]), None)).unwrap();
    revisions.record(new(&good, Some(1_060))).unwrap();
    revisions.confirm(2).unwrap();
    revisions
        .record(new(&files(&[("fielato.toml", "waits\n")]), Some(1_060)))
        .unwrap();
    drop(revisions);

    let path = dir.path().join("store.redb");
    let mut bytes = fs::read(&path).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Embedded::open(&path), Err(fielato_store::Error::Corrupt { .. })));
    let kept = last_good::read(&dir.path().join("policy")).unwrap().unwrap();
    assert_eq!((kept.number, &kept.files), (2, &good));

    // Numbers go on in the new store: nobody meets another revision 2.
    let (store, _) = Embedded::set_aside(&path, fielato_store::Options::default()).unwrap();
    let revisions = Revisions::open(Arc::new(store), dir.path().join("policy")).unwrap();
    assert_eq!(revisions.record(new(&kept.files, None)).unwrap().number, 3);
}

#[test]
fn plain_files_are_private_and_damage_to_them_is_seen() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("policy");
    let good = files(&[("fielato.toml", "good = true\n"), ("more.toml", "more = 1\n")]);
    last_good::write(&folder, 4, &good).unwrap();
    let place = folder.join("good-4");
    for entry in fs::read_dir(&place).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    if fielato_testkit::need("plain_files_are_private_and_damage_to_them_is_seen", "b2sum") {
        let script = format!("cd {} && b2sum --check checksums", place.display());
        let output = fielato_testkit::run("sh", &["-c", &script], "");
        assert!(output.status.success(), "{output:?}");
    }
    for name in ["fielato.toml", "more.toml", "checksums"] {
        let path = place.join(name);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(last_good::read(&folder).unwrap(), None, "{name}, byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(last_good::read(&folder).unwrap(), None, "{name}, cut at {at}");
        }
        fs::write(&path, &whole).unwrap();
    }
    // A newer one that was being written when the power went: the older one is still whole.
    fs::create_dir(folder.join("good-5")).unwrap();
    fs::write(folder.join("good-5/fielato.toml"), "half").unwrap();
    assert_eq!(last_good::read(&folder).unwrap().unwrap().number, 4);
    last_good::write(&folder, 5, &good).unwrap();
    assert_eq!(last_good::read(&folder).unwrap().unwrap().number, 5);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the older ones are removed");
}
