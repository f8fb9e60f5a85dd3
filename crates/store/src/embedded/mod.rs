//! The store in one file of this machine, over redb.
//!
//! redb gives pages with checksums, copied before they are changed, and a header with two slots, so that a killed process
//! leaves the last commit. Three things are added here: a full disk leaves the file as it was and reads go on
//! (`file.rs`); the whole file is verified whenever it is opened; and a panic of redb's on a damaged file gets no further.

mod fail;
mod file;
mod leases;
#[cfg(test)]
mod power_cut;
mod record;
mod tables;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use redb::{Database, WriteTransaction};

use self::fail::{Fail, guarded};
use self::file::{Flags, Shadowed};
use self::leases::Leases;
use self::tables::Applied;
use crate::watch::Watchers;
use crate::{CommitError, Entry, Error, LeaseId, Result, Revision, Store, Txn, Watch};

/// What a store keeps beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many commits a watch can go back; 0 for a store that nobody watches from the past.
    pub history: usize,
    /// The most that these commits may hold, in bytes.
    pub history_bytes: usize,
    /// How much of the file is kept in memory, in bytes.
    pub cache: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: 4096,
            history_bytes: 16 << 20,
            cache: 4 << 20,
        }
    }
}

/// A store in a file, which this process alone has open. Dropping it closes it.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// Locked while it is open.
    file: Arc<File>,
    options: Options,
    flags: Arc<Flags>,
    /// Absent after a failure, until it could be opened again.
    database: RwLock<Option<Database>>,
    writer: Mutex<Writer>,
    watchers: Watchers,
}

/// What whoever commits knows without reading the file.
#[derive(Debug, Default)]
struct Writer {
    revision: Revision,
    /// The last commit that is no longer remembered.
    compacted: Revision,
    /// Remembered commits and how much they hold, the oldest first.
    history: VecDeque<(Revision, usize)>,
    history_bytes: usize,
    leases: Leases,
}

impl Embedded {
    /// Opens the store in the file at `path`, or begins one if there is no file. Everything in it is verified.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what was written: [`Embedded::set_aside`] is the way on; [`Error::Locked`] when another
    /// process has it; [`Error::Full`] when there is no space for a new one; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(path: &Path, options: Options) -> Result<Self> {
        let flags = Arc::new(Flags::default());
        let file = match open_locked(path, false) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(path, options)?,
            result => result?,
        };
        let metadata = file.metadata().map_err(|error| io_error(path, "read the size of", error))?;
        if metadata.len() == 0 {
            // A new file is given its name only when it is complete.
            return Err(corrupt(path, "it is empty"));
        }
        let file = Arc::new(file);
        let database = open_database(path, &file, &flags, options)?;
        let loaded = guarded(|| tables::load(&database)).map_err(|fail| not_refused(path, fail))?;
        let (format, writer) = loaded;
        if format > tables::CURRENT_FORMAT {
            return Err(Error::NewerFormat {
                path: path.into(),
                found: format,
                known: tables::CURRENT_FORMAT,
            });
        }
        Ok(Self {
            path: path.into(),
            file,
            options,
            flags,
            database: RwLock::new(Some(database)),
            writer: Mutex::new(writer),
            watchers: Watchers::default(),
        })
    }

    /// Moves a damaged store's file beside, under a name that is free, and begins a new one. Returns the store and that name.
    ///
    /// # Errors
    /// As [`Embedded::open`], or when the file cannot be moved.
    pub fn set_aside(path: &Path, options: Options) -> Result<(Self, PathBuf)> {
        // Held while it is moved, so that it is nobody's living store.
        let _held = open_locked(path, false)?;
        let beside = free_name(path)?;
        fs::rename(path, &beside).map_err(|error| io_error(path, "move", error))?;
        sync_folder(path)?;
        Ok((Self::open_with(path, options)?, beside))
    }

    /// Opens the store; a damaged one is set aside, and then it is also told where it is now and what is wrong with it.
    ///
    /// # Errors
    /// As [`Embedded::open`], but for a damaged file.
    pub fn open_or_set_aside(path: &Path, options: Options) -> Result<(Self, Option<(PathBuf, Error)>)> {
        match Self::open_with(path, options) {
            Err(damage @ Error::Corrupt { .. }) => {
                let (store, beside) = Self::set_aside(path, options)?;
                Ok((store, Some((beside, damage))))
            }
            opened => Ok((opened?, None)),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt<T>(&self, run: impl FnOnce(&Database) -> Result<T, Fail>) -> Result<T, Fail> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(database) => guarded(|| run(database)),
            None => Err(Fail::Database(redb::Error::PreviousIo)),
        }
    }

    /// Reads; a second time on a database opened anew, if the first failed.
    fn read<T>(&self, run: impl Fn(&Database) -> Result<T, Fail>) -> Result<T> {
        let result = match self.attempt(&run) {
            Err(Fail::Database(_) | Fail::Panicked(_)) => {
                self.reopen()?;
                self.attempt(&run)
            }
            result => result,
        };
        result.map_err(|fail| not_refused(&self.path, fail))
    }

    /// Makes a change in one transaction of the database; none when `change` finds nothing to change.
    fn write<T>(
        &self,
        writer: &Writer,
        change: impl FnOnce(&WriteTransaction) -> Result<Option<T>, Fail>,
    ) -> Result<Option<T>, CommitError> {
        if self.flags.unsure.load(Ordering::Acquire) {
            return Err(self.unsure("an earlier change").into());
        }
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let result = self.attempt(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let Some(changed) = change(&transaction)? else {
                transaction.abort()?;
                return Ok(None);
            };
            transaction.commit()?;
            Ok(Some(changed))
        });
        let error = match result {
            Ok(changed) => return Ok(changed),
            Err(Fail::Refused(error)) => return Err(error),
            Err(fail) => fail.explain(&self.path),
        };
        // redb, rightly, refuses everything after a failure of the disk. What it finds now is what is there.
        self.reopen()?;
        let found = self.attempt(tables::revision);
        if self.flags.unsure.load(Ordering::Acquire) || !matches!(found, Ok(found) if found == writer.revision) {
            self.flags.unsure.store(true, Ordering::Release);
            return Err(self.unsure(&error.to_string()).into());
        }
        Err(error)
    }

    fn unsure(&self, reason: &str) -> Error {
        Error::Unsure {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    /// Opens the database anew, of the same file.
    fn reopen(&self) -> Result<()> {
        let mut slot = self.slot();
        if let Some(database) = slot.take() {
            close(&self.flags, database);
        }
        *slot = Some(open_database(&self.path, &self.file, &self.flags, self.options)?);
        Ok(())
    }

    /// Goes on from a commit: remembers it and tells who watches.
    fn advance(&self, writer: &mut Writer, applied: &Applied) {
        writer.advance(applied);
        self.watchers.publish(&applied.commit);
    }

    fn end_leases(&self, writer: &mut Writer, ended: &[LeaseId]) -> Result<()> {
        let done = self.write(writer, |transaction| {
            // The leases go also when no key went with them.
            tables::end_leases(transaction, ended, writer, &self.options).map(Some)
        });
        let done = done.map_err(|error| not_refused(&self.path, Fail::Refused(error)))?;
        for lease in ended {
            writer.leases.remove(*lease);
        }
        if let Some(Some(applied)) = done {
            self.advance(writer, &applied);
        }
        Ok(())
    }
}

impl Store for Embedded {
    fn revision(&self) -> Result<Revision> {
        self.read(tables::revision)
    }

    fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.read(|database| tables::get(database, key))
    }

    fn list(&self, prefix: &str) -> Result<(Revision, Vec<(String, Entry)>)> {
        self.read(|database| tables::list(database, prefix))
    }

    fn commit(&self, txn: Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        let mut writer = self.writer();
        let done = self.write(&writer, |transaction| {
            tables::apply(transaction, &txn, &writer, &self.options)
        })?;
        if let Some(applied) = done {
            self.advance(&mut writer, &applied);
        }
        Ok(writer.revision)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        // Nobody commits meanwhile: no commit is missed between what was and what comes.
        let writer = self.writer();
        if from <= writer.compacted && writer.compacted > Revision(0) {
            return Err(Error::Compacted {
                from,
                oldest: writer.compacted.next(),
            });
        }
        let past = if from <= writer.revision {
            self.read(|database| tables::history(database, from))?
        } else {
            Vec::new()
        };
        self.watchers.add(&self.path, prefix, from, &past)
    }

    fn grant(&self, ttl: Duration, now: Instant) -> Result<LeaseId> {
        let mut writer = self.writer();
        let granted = self.write(&writer, |transaction| tables::grant(transaction, ttl).map(Some));
        match granted.map_err(|error| not_refused(&self.path, Fail::Refused(error)))? {
            Some(lease) => {
                writer.leases.insert(lease, ttl, Some(now));
                Ok(lease)
            }
            None => Err(corrupt(&self.path, "a lease was lost")),
        }
    }

    fn keep_alive(&self, lease: LeaseId, now: Instant) -> Result<()> {
        if self.writer().leases.keep_alive(lease, now) {
            Ok(())
        } else {
            Err(Error::NoLease(lease))
        }
    }

    fn revoke(&self, lease: LeaseId) -> Result<Revision> {
        let mut writer = self.writer();
        if !writer.leases.contains(lease) {
            return Err(Error::NoLease(lease));
        }
        self.end_leases(&mut writer, &[lease])?;
        Ok(writer.revision)
    }

    fn expire(&self, now: Instant) -> Result<Vec<LeaseId>> {
        let mut writer = self.writer();
        let ended = writer.leases.ended(now);
        if !ended.is_empty() {
            self.end_leases(&mut writer, &ended)?;
        }
        Ok(ended)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(database) = self.slot().take() {
            close(&self.flags, database);
        }
    }
}

/// Makes a new store under another name, complete, and only then gives it its own.
fn create(path: &Path, options: Options) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    let file = open_locked(&unfinished, true)?;
    file.set_len(0).map_err(|error| io_error(&unfinished, "empty", error))?;
    let flags = Arc::new(Flags::default());
    let file = Arc::new(file);
    let made = open_fresh(&unfinished, &file, &flags, options);
    let made = made.and_then(|()| {
        fs::rename(&unfinished, path).map_err(|error| io_error(&unfinished, "rename", error))?;
        sync_folder(path)
    });
    if let Err(error) = made {
        // It failed already; that it cannot be removed changes nothing, as the next try begins with emptying it.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    file.try_clone().map_err(|error| io_error(path, "open", error))
}

fn open_fresh(path: &Path, file: &Arc<File>, flags: &Arc<Flags>, options: Options) -> Result<()> {
    let database = open_database(path, file, flags, options)?;
    guarded(|| tables::create(&database)).map_err(|fail| not_refused(path, fail))?;
    close(flags, database);
    file.sync_all().map_err(|error| io_error(path, "sync", error))
}

fn open_database(path: &Path, file: &Arc<File>, flags: &Arc<Flags>, options: Options) -> Result<Database> {
    let shadowed = Shadowed::new(Arc::clone(file), Arc::clone(flags)).map_err(|error| io_error(path, "read", error))?;
    flags.lenient.store(true, Ordering::Release);
    let opened = guarded(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(options.cache);
        builder.set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(shadowed)?)
    });
    flags.lenient.store(false, Ordering::Release);
    opened.map_err(|fail| not_refused(path, fail))
}

/// Closes it; what it would write for a quicker start is written if there is space.
fn close(flags: &Flags, database: Database) {
    flags.lenient.store(true, Ordering::Release);
    // An error here is of no consequence: all commits are synced, and the next start repairs what else there is.
    let _ = guarded(|| Ok(database.close()?));
    flags.lenient.store(false, Ordering::Release);
}

fn open_locked(path: &Path, create: bool) -> Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = opened.map_err(|error| io_error(path, "open", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(path.into())),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock", error)),
    }
}

fn free_name(path: &Path) -> Result<PathBuf> {
    for number in 1u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let beside = PathBuf::from(name);
        match fs::symlink_metadata(&beside) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(beside),
            Err(error) => return Err(io_error(&beside, "look for", error)),
        }
    }
    Err(io_error(path, "find a free name beside", io::ErrorKind::AlreadyExists.into()))
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io_error(folder, "sync", error))
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::Corrupt {
        path: path.into(),
        what: what.into(),
    }
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> Error {
    if file::is_full(&source) {
        return Error::Full(path.into());
    }
    Error::Io {
        path: path.into(),
        doing,
        source,
    }
}

/// The error of a call that compares nothing and has no limits.
fn not_refused(path: &Path, fail: Fail) -> Error {
    match fail.explain(path) {
        CommitError::Store(error) => error,
        other => corrupt(path, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_unsure_commit_nothing_is_written_and_reads_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = Embedded::open(&path).unwrap();
        store.commit(Txn::new().put("k", "1")).unwrap();
        // As when the sync of a header failed.
        store.flags.unsure.store(true, Ordering::Release);
        let refused = store.commit(Txn::new().put("k", "2")).unwrap_err();
        assert!(refused.to_string().contains("restart the daemon"), "{refused}");
        assert!(matches!(
            store.grant(Duration::ZERO, Instant::now()),
            Err(Error::Unsure { .. })
        ));
        assert_eq!(store.get("k").unwrap().unwrap().value, b"1");
        drop(store);
        Embedded::open(&path).unwrap().commit(Txn::new().put("k", "2")).unwrap();
    }

    #[test]
    fn a_database_that_failed_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
        store.commit(Txn::new().put("k", "1")).unwrap();
        store.slot().take();
        assert_eq!(store.get("k").unwrap().unwrap().value, b"1");
        store.slot().take();
        assert_eq!(store.commit(Txn::new().put("k", "2")).unwrap(), Revision(2));
        // A panic within redb is an error here, and the next call finds the store as it was.
        let writer = store.writer();
        let failed = store.write::<()>(&writer, |_| panic!("a page is not as it should be"));
        assert!(
            matches!(failed, Err(CommitError::Store(Error::Corrupt { what, .. })) if what == "a page is not as it should be")
        );
        drop(writer);
        assert_eq!(store.commit(Txn::new().put("k", "3")).unwrap(), Revision(3));
    }

    #[test]
    fn a_later_format_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = Embedded::open(&path).unwrap();
        store
            .write(&Writer::default(), |transaction| tables::set_format(transaction, 2).map(Some))
            .unwrap();
        drop(store);
        let refused = Embedded::open(&path).unwrap_err();
        assert!(matches!(refused, Error::NewerFormat { found: 2, known: 1, .. }), "{refused}");
    }
}
