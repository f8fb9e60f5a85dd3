//! The power is cut at every write: of what was not synced any part may be on the disk, in any order, torn at any sector.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::file::Event;
use super::{Embedded, Options};
use crate::{Entry, Revision, Store, Txn};

const SECTOR: usize = 512;
const OPTIONS: Options = Options {
    history: 3,
    history_bytes: 30_000,
    cache: 1 << 20,
};

/// What happened to a file since it was `base`.
struct Recording {
    base: Vec<u8>,
    events: Vec<Event>,
    /// How many events there were when a revision was acknowledged.
    acknowledged: Vec<(usize, Revision)>,
    contents: BTreeMap<Revision, Vec<(String, Entry)>>,
}

/// Opens a store, commits to it, so that it grows and shrinks, and closes it.
fn record(path: &Path, random: &mut fastrand::Rng) -> Recording {
    drop(Embedded::open_with(path, OPTIONS).unwrap());
    let base = fs::read(path).unwrap();
    let store = Embedded::open_with(path, OPTIONS).unwrap();
    let flags = Arc::clone(&store.flags);
    let (revision, entries) = store.list("").unwrap();
    let mut acknowledged = vec![(0, revision)];
    let mut contents = BTreeMap::from([(revision, entries)]);
    for _ in 0..12 {
        let mut txn = Txn::new();
        for key in 0..6 {
            txn = match random.u8(0..3) {
                0 => txn.delete(format!("{key}")),
                1 => txn.put(format!("{key}"), vec![random.u8(..); random.usize(0..200)]),
                _ => txn.put(format!("{key}"), vec![random.u8(..); random.usize(0..20_000)]),
            };
        }
        let revision = store.commit(txn).unwrap();
        acknowledged.push((flags.events.lock().unwrap().len(), revision));
        contents.insert(revision, store.list("").unwrap().1);
    }
    drop(store);
    let events = flags.events.lock().unwrap().clone();
    Recording {
        base,
        events,
        acknowledged,
        contents,
    }
}

fn apply(image: &mut Vec<u8>, event: &Event, mut survives: impl FnMut() -> bool) {
    match event {
        Event::Write(offset, data) => {
            for (number, sector) in data.chunks(SECTOR).enumerate() {
                if !survives() {
                    continue;
                }
                let begin = *offset as usize + number * SECTOR;
                let end = begin + sector.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[begin..end].copy_from_slice(sector);
            }
        }
        Event::Length(length) if survives() => image.resize(*length as usize, 0),
        Event::Length(_) | Event::Synced => {}
    }
}

#[test]
fn every_write_may_be_the_last() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("store.redb");
    let image_path = dir.path().join("image.redb");
    let mut random = fastrand::Rng::with_seed(1);
    let Recording {
        base,
        events,
        acknowledged,
        contents,
    } = record(&path, &mut random);
    let (mut older, mut newer) = (0, 0);
    // What is surely on the disk, and from which event on it is not sure.
    let (mut synced, mut unsure) = (base, 0);
    for cut in 0..=events.len() {
        let told = acknowledged.iter().rev().find(|(count, _)| *count <= cut).unwrap().1;
        // Nothing of it, all of it, and parts.
        for chance in [0, 100, 50, 90] {
            let mut image = synced.clone();
            for event in &events[unsure..cut] {
                apply(&mut image, event, || random.u8(0..100) < chance);
            }
            fs::write(&image_path, &image).unwrap();
            let store =
                Embedded::open_with(&image_path, OPTIONS).unwrap_or_else(|error| panic!("cut at {cut}, {chance}: {error}"));
            let (found, entries) = store.list("").unwrap();
            assert!(
                found == told || found == told.next(),
                "cut at {cut}: {found} is there, {told} was acknowledged"
            );
            assert!(entries == contents[&found], "cut at {cut}: revision {found} is whole");
            older += usize::from(found == told);
            newer += usize::from(found != told);
        }
        if matches!(events.get(cut), Some(Event::Synced)) {
            for event in &events[unsure..cut] {
                apply(&mut synced, event, || true);
            }
            unsure = cut;
        }
    }
    assert!(fs::read(&path).unwrap() == synced, "the recording is complete");
    assert!(
        older > 100 && newer > 0,
        "{older} older, {newer} newer of {} events",
        events.len()
    );
}
