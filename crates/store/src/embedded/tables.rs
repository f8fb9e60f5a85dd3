//! The file's tables, and what a transaction does to them.

use std::collections::VecDeque;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::fail::Fail;
use super::record::{read_changes, read_entry, read_head, write_changes, write_entry};
use super::{Options, Writer};
use crate::{Change, Commit, CommitError, Compare, Entry, Error, LeaseId, Operation, Revision, Txn};

/// Key to entry.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Revision to what it changed.
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
/// Lease to how long it lasts, in milliseconds.
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");
/// Which keys go with which lease.
const LEASED: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("leased");
/// Numbers, by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: &str = "format";
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const LAST_LEASE: &str = "last lease";

/// The format of what stands in the tables.
pub(super) const CURRENT_FORMAT: u64 = 1;

/// Makes the tables of a new file.
pub(super) fn create(database: &Database) -> Result<(), Fail> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(ENTRIES)?;
        transaction.open_table(HISTORY)?;
        transaction.open_table(LEASES)?;
        transaction.open_table(LEASED)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, CURRENT_FORMAT)?;
        for name in [REVISION, COMPACTED, LAST_LEASE] {
            meta.insert(name, 0)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The format of the file, and what whoever commits has to know of it.
pub(super) fn load(database: &Database) -> Result<(u64, Writer), Fail> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let format = number(&meta, FORMAT)?;
    let mut writer = Writer::default();
    if format != CURRENT_FORMAT {
        return Ok((format, writer));
    }
    writer.revision = Revision(number(&meta, REVISION)?);
    writer.compacted = Revision(number(&meta, COMPACTED)?);
    for item in transaction.open_table(HISTORY)?.iter()? {
        let (revision, changes) = item?;
        writer.remember(Revision(revision.value()), changes.value().len());
    }
    for item in transaction.open_table(LEASES)?.iter()? {
        let (id, ttl) = item?;
        writer
            .leases
            .insert(LeaseId(id.value()), Duration::from_millis(ttl.value()), None);
    }
    Ok((format, writer))
}

pub(super) fn revision(database: &Database) -> Result<Revision, Fail> {
    let transaction = database.begin_read()?;
    Ok(Revision(number(&transaction.open_table(META)?, REVISION)?))
}

pub(super) fn get(database: &Database, key: &str) -> Result<Option<Entry>, Fail> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    entries.get(key)?.map(|bytes| entry(bytes.value())).transpose()
}

pub(super) fn list(database: &Database, prefix: &str) -> Result<(Revision, Vec<(String, Entry)>), Fail> {
    let transaction = database.begin_read()?;
    let revision = Revision(number(&transaction.open_table(META)?, REVISION)?);
    let mut found = Vec::new();
    for item in transaction.open_table(ENTRIES)?.range(prefix..)? {
        let (key, bytes) = item?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_owned(), entry(bytes.value())?));
    }
    Ok((revision, found))
}

/// Commits from a revision on, as far as they are remembered.
pub(super) fn history(database: &Database, from: Revision) -> Result<Vec<Commit>, Fail> {
    let history = database.begin_read()?.open_table(HISTORY)?;
    let mut commits = Vec::new();
    for item in history.range(from.0..)? {
        let (revision, changes) = item?;
        let commit = read_changes(Revision(revision.value()), changes.value());
        commits.push(commit.ok_or(Fail::Malformed("a commit of the history"))?);
    }
    Ok(commits)
}

/// What a commit did, for whoever goes on from it.
pub(super) struct Applied {
    pub(super) commit: Commit,
    /// What it takes in the history; none when it is not remembered.
    pub(super) bytes: Option<usize>,
    /// How many older ones were forgotten.
    pub(super) forgotten: usize,
}

/// Compares and changes. None when nothing was to be changed; the transaction is then not worth committing.
pub(super) fn apply(
    transaction: &WriteTransaction,
    txn: &Txn,
    writer: &Writer,
    options: &Options,
) -> Result<Option<Applied>, Fail> {
    let revision = writer.revision.next();
    let mut changes = Vec::new();
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut leased = transaction.open_table(LEASED)?;
        for Compare { key, revision: expected } in &txn.compares {
            let found = head(&entries, key)?.map(|(revision, _)| revision);
            if found != *expected {
                return Err(Fail::Refused(CommitError::Conflict {
                    key: key.clone(),
                    expected: *expected,
                    found,
                }));
            }
        }
        for operation in &txn.operations {
            let key = operation.key();
            let before = head(&entries, key)?;
            if let Some((_, Some(lease))) = before {
                leased.remove((lease.0, key))?;
            }
            let entry = match operation {
                Operation::Delete { .. } => {
                    if before.is_none() {
                        continue;
                    }
                    entries.remove(key)?;
                    None
                }
                Operation::Put { value, lease, .. } => {
                    if let Some(lease) = lease {
                        if !writer.leases.contains(*lease) {
                            return Err(Fail::Refused(Error::NoLease(*lease).into()));
                        }
                        leased.insert((lease.0, key), ())?;
                    }
                    entries.insert(key, write_entry(revision, *lease, value).as_slice())?;
                    Some(Entry {
                        value: value.clone(),
                        revision,
                        lease: *lease,
                    })
                }
            };
            changes.push(Change { key: key.into(), entry });
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let commit = Commit { revision, changes };
    transaction.open_table(META)?.insert(REVISION, revision.0)?;
    remember(transaction, commit, writer, options).map(Some)
}

/// Writes a commit into the history, and forgets the oldest ones beyond the bounds.
fn remember(transaction: &WriteTransaction, commit: Commit, writer: &Writer, options: &Options) -> Result<Applied, Fail> {
    let record = (options.history > 0).then(|| write_changes(&commit.changes));
    // A commit that is larger than the whole history takes the place of everything before it, and its own.
    let record = record.filter(|record| record.len() <= options.history_bytes);
    let (mut count, mut bytes) = (writer.history.len(), writer.history_bytes);
    if let Some(record) = &record {
        (count, bytes) = (count.saturating_add(1), bytes.saturating_add(record.len()));
    }
    let mut forgotten = 0;
    let mut compacted = writer.compacted;
    for (revision, length) in &writer.history {
        if record.is_some() && count <= options.history && bytes <= options.history_bytes {
            break;
        }
        (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(*length));
        forgotten += 1;
        compacted = *revision;
    }
    if record.is_none() {
        compacted = commit.revision;
    }
    let mut history = transaction.open_table(HISTORY)?;
    for (revision, _) in writer.history.iter().take(forgotten) {
        history.remove(revision.0)?;
    }
    if let Some(record) = &record {
        history.insert(commit.revision.0, record.as_slice())?;
    }
    if compacted != writer.compacted {
        transaction.open_table(META)?.insert(COMPACTED, compacted.0)?;
    }
    Ok(Applied {
        bytes: record.map(|record| record.len()),
        commit,
        forgotten,
    })
}

/// A new lease, which the file knows from now on.
pub(super) fn grant(transaction: &WriteTransaction, ttl: Duration) -> Result<LeaseId, Fail> {
    let mut meta = transaction.open_table(META)?;
    let id = number(&meta, LAST_LEASE)?.saturating_add(1);
    meta.insert(LAST_LEASE, id)?;
    let milliseconds = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    transaction.open_table(LEASES)?.insert(id, milliseconds)?;
    Ok(LeaseId(id))
}

/// Removes leases, and everything that goes with them. None in it when nothing did.
pub(super) fn end_leases(
    transaction: &WriteTransaction,
    ended: &[LeaseId],
    writer: &Writer,
    options: &Options,
) -> Result<Option<Applied>, Fail> {
    let mut txn = Txn::new();
    for lease in ended {
        transaction.open_table(LEASES)?.remove(lease.0)?;
        for item in transaction.open_table(LEASED)?.range((lease.0, "")..)? {
            let (place, ()) = {
                let (key, value) = item?;
                (key, value.value())
            };
            let (id, key) = place.value();
            if id != lease.0 {
                break;
            }
            txn = txn.delete(key);
        }
    }
    apply(transaction, &txn, writer, options)
}

impl Writer {
    pub(super) fn remember(&mut self, revision: Revision, bytes: usize) {
        self.history.push_back((revision, bytes));
        self.history_bytes = self.history_bytes.saturating_add(bytes);
    }

    /// Goes on from a commit that is in the file.
    pub(super) fn advance(&mut self, applied: &Applied) {
        let Applied {
            commit,
            bytes,
            forgotten,
        } = applied;
        self.revision = commit.revision;
        for (revision, length) in drain(&mut self.history, *forgotten) {
            self.compacted = revision;
            self.history_bytes = self.history_bytes.saturating_sub(length);
        }
        match bytes {
            Some(bytes) => self.remember(commit.revision, *bytes),
            None => self.compacted = commit.revision,
        }
    }
}

#[cfg(test)]
pub(super) fn set_format(transaction: &WriteTransaction, format: u64) -> Result<(), Fail> {
    transaction.open_table(META)?.insert(FORMAT, format)?;
    Ok(())
}

fn drain(history: &mut VecDeque<(Revision, usize)>, count: usize) -> impl Iterator<Item = (Revision, usize)> + '_ {
    history.drain(..count.min(history.len()))
}

fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Fail> {
    let number = meta.get(name)?;
    Ok(number.ok_or(Fail::Malformed("the table of numbers"))?.value())
}

fn head(entries: &Table<'_, &'static str, &'static [u8]>, key: &str) -> Result<Option<(Revision, Option<LeaseId>)>, Fail> {
    let Some(bytes) = entries.get(key)? else {
        return Ok(None);
    };
    read_head(bytes.value()).ok_or(Fail::Malformed("an entry")).map(Some)
}

fn entry(bytes: &[u8]) -> Result<Entry, Fail> {
    read_entry(bytes).ok_or(Fail::Malformed("an entry"))
}
