//! Rules in a file, replaced as a whole, under a lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fielato_control::Paths;
use fielato_iptables::command::Wait;
use fielato_iptables::iptc::{ChainSources, Memory, Store};
use fielato_iptables::program::Exit;
use fielato_iptables::{Failure, Registry, state};
use fielato_netfilter::Table;
use fielato_netfilter::syntax::Names;
use fielato_wire::Family;

use super::{failure, reason};

/// The file of this process's network namespace, in the runtime folder, which a reboot clears. A number may come back for
/// another namespace after its own ended: whoever makes namespaces by the thousand names files with FIELATO_RULESET.
pub fn of_this_namespace(paths: &Paths) -> Result<PathBuf, String> {
    let namespace = fs::metadata("/proc/self/ns/net").map_err(|error| format!("/proc/self/ns/net: {}", reason(&error)))?;
    let folder = paths.runtime().join("rules");
    Ok(folder.join(namespace.ino().to_string()))
}

/// A file's path with more at its end.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The lock, held until it is dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it. Without `-w`, iptables 1.8.9 (legacy) waits as long as it takes.
    pub fn take(path: &Path, wait: Wait) -> Result<Lock, Exit> {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let open = |()| OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let opened = folder.and_then(open);
        let file = opened.map_err(|error| Exit {
            code: 4,
            message: format!("Fatal: can't open lock file {}: {}\n", path.display(), reason(&error)),
        })?;
        let locked = match wait {
            Wait::No | Wait::Forever => file.lock(),
            Wait::Seconds(seconds) => lock_within(&file, Duration::from_secs(seconds.into())),
        };
        match (locked, wait) {
            (Ok(()), _) => Ok(Lock { _file: file }),
            (Err(error), Wait::Seconds(seconds)) => Err(Exit {
                code: 4,
                message: format!(
                    "Can't lock {}: {}\nAnother app is currently holding the xtables lock. Stopped waiting after {seconds}s.\n",
                    path.display(),
                    reason(&error)
                ),
            }),
            (Err(error), _) => Err(Exit {
                code: 4,
                message: format!("Can't lock {}: {}\n", path.display(), reason(&error)),
            }),
        }
    }
}

fn lock_within(file: &File, time: Duration) -> std::io::Result<()> {
    let end = Instant::now() + time;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            // EAGAIN's own text.
            Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                return Err(rustix::io::Errno::AGAIN.into());
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Rules in a file.
pub struct FileStore<'a> {
    path: PathBuf,
    registry: &'a Registry,
    names: &'a dyn Names,
    /// The file's text when it was read, and what it says.
    read: Option<(String, Memory)>,
}

impl<'a> FileStore<'a> {
    /// Nothing is read yet.
    pub fn new(path: PathBuf, registry: &'a Registry, names: &'a dyn Names) -> FileStore<'a> {
        FileStore {
            path,
            registry,
            names,
            read: None,
        }
    }

    /// The lock is given back: what was read may be old.
    pub fn forget(&mut self) {
        self.read = None;
    }

    fn text(&self) -> Result<String, Failure> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(failure("read", &self.path, &error)),
        }
    }

    fn tables_now(&mut self) -> Result<&mut Memory, Failure> {
        if self.read.is_none() {
            let text = self.text()?;
            let tables = state::decode(&text, self.registry, self.names)
                .map_err(|error| Failure::Store(format!("{}: {error}", self.path.display())))?;
            self.read = Some((text, tables));
        }
        match &mut self.read {
            Some((_, tables)) => Ok(tables),
            None => Err(Failure::NoTable),
        }
    }

    /// Writes what was changed beside the file, then puts it in its place.
    fn write(&mut self) -> Result<(), Failure> {
        let Some((text, tables)) = &mut self.read else { return Ok(()) };
        *text = state::encode(tables, self.registry, self.names);
        let new = beside(&self.path, &format!(".new.{}", std::process::id()));
        let write = || {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| {
            fs::remove_file(&new).ok();
            failure("write", &self.path, &error)
        })
    }
}

impl Store for FileStore<'_> {
    fn load(&mut self, family: Family, table: &str) -> Result<(Table, u64), Failure> {
        let tables = self.tables_now()?;
        let before = tables.ruleset(family).tables.len();
        let loaded = tables.load(family, table)?;
        // As in the kernel, a table is there from the first time that someone asked for it.
        if tables.ruleset(family).tables.len() != before {
            self.write()?;
        }
        Ok(loaded)
    }

    fn commit(&mut self, family: Family, table: Table, sources: &[ChainSources], generation: u64) -> Result<(), Failure> {
        // A writer that doesn't keep to the lock.
        let now = self.text()?;
        if self.read.as_ref().is_some_and(|(text, _)| *text != now) {
            return Err(Failure::Stale);
        }
        self.tables_now()?.commit(family, table, sources, generation)?;
        self.write()
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure> {
        self.tables_now()?.tables(family)
    }
}
