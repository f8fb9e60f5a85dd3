//! How entries and commits stand in the file's tables. Integers are little-endian; a lease of 0 is none.

use crate::{Change, Commit, Entry, LeaseId, Revision};

/// An entry: its revision, its lease, then the value.
pub(super) fn write_entry(revision: Revision, lease: Option<LeaseId>, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len().saturating_add(16));
    bytes.extend(revision.0.to_le_bytes());
    bytes.extend(lease.map_or(0, |lease| lease.0).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// The same, read.
pub(super) fn read_entry(mut bytes: &[u8]) -> Option<Entry> {
    let revision = Revision(number(&mut bytes)?);
    let lease = lease(&mut bytes)?;
    Some(Entry {
        value: bytes.to_vec(),
        revision,
        lease,
    })
}

/// The revision and the lease of an entry, without its value.
pub(super) fn read_head(mut bytes: &[u8]) -> Option<(Revision, Option<LeaseId>)> {
    Some((Revision(number(&mut bytes)?), lease(&mut bytes)?))
}

/// What a commit changed: for each key its length, the key, and the entry's length (plus one, 0 when it was deleted) and the entry.
pub(super) fn write_changes(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Change { key, entry } in changes {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        match entry {
            None => bytes.extend(0u64.to_le_bytes()),
            Some(Entry { value, revision, lease }) => {
                let entry = write_entry(*revision, *lease, value);
                bytes.extend((entry.len() as u64).saturating_add(1).to_le_bytes());
                bytes.extend(entry);
            }
        }
    }
    bytes
}

/// The same, read.
pub(super) fn read_changes(revision: Revision, mut bytes: &[u8]) -> Option<Commit> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(number(&mut bytes)?).ok()?;
        let key = str::from_utf8(take(&mut bytes, length)?).ok()?.to_owned();
        let entry = match usize::try_from(number(&mut bytes)?).ok()?.checked_sub(1) {
            None => None,
            Some(length) => Some(read_entry(take(&mut bytes, length)?)?),
        };
        changes.push(Change { key, entry });
    }
    Some(Commit { revision, changes })
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn lease(bytes: &mut &[u8]) -> Option<Option<LeaseId>> {
    Some(Some(number(bytes)?).filter(|lease| *lease != 0).map(LeaseId))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_no_panic_on_any_cut() {
        let entry = Entry {
            value: b"value".to_vec(),
            revision: Revision(7),
            lease: Some(LeaseId(3)),
        };
        let changes = vec![
            Change {
                key: "a".into(),
                entry: Some(entry.clone()),
            },
            Change {
                key: "b/c".into(),
                entry: None,
            },
        ];
        let bytes = write_changes(&changes);
        let commit = Commit {
            revision: Revision(7),
            changes,
        };
        assert_eq!(read_changes(Revision(7), &bytes), Some(commit.clone()));
        for length in 0..bytes.len() {
            assert_ne!(read_changes(Revision(7), &bytes[..length]), Some(commit.clone()));
        }
        let written = write_entry(entry.revision, entry.lease, &entry.value);
        assert_eq!(read_entry(&written), Some(entry));
        assert_eq!(read_entry(&written[..15]), None);
        assert_eq!(read_changes(Revision(7), &u64::MAX.to_le_bytes()), None);
    }
}
