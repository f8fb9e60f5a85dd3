//! Network namespaces with names, as `ip netns` keeps them.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where `ip netns` keeps its namespaces (man 8 ip-netns; /var/run is /run).
const DIRECTORY: &str = "/run/netns";

/// Why something could not be done to a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The name can't be a file's.
    #[error("{0:?} can't be a network namespace's name: it is a file's name, without `/`")]
    Name(String),
    /// The name is taken.
    #[error("a network namespace {0} exists already; remove it with `ip netns delete {0}`")]
    Exists(String),
    /// No namespace has the name.
    #[error("there is no network namespace {0}")]
    Missing(String),
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was asked for.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> NetnsError {
    move |error| NetnsError::System {
        doing: doing.into(),
        source: error.into(),
    }
}

/// An open network namespace. It lives as long as this, or as its name, or as a process in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Creates a namespace that `ip netns` lists too. The loopback in it is down, as in every new namespace.
    ///
    /// # Errors
    /// [`NetnsError::Exists`] when the name is taken, or others.
    pub fn create(name: &str) -> Result<Self, NetnsError> {
        let path = path_of(name)?;
        prepare_directory()?;
        let create = File::options().create_new(true).write(true).open(&path);
        create.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => NetnsError::Exists(name.to_owned()),
            _ => failed::<io::Error>(format!("create {}", path.display()))(error),
        })?;
        // The namespace is made by a thread that ends afterwards, so that no thread of the caller's changes its own.
        let target = path.clone();
        let bound = on_a_thread(move || {
            // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            mount_bind("/proc/thread-self/ns/net", &target)
        });
        if let Err(error) = bound {
            // Nothing is mounted there, so removing the file leaves things as they were.
            let _ = fs::remove_file(&path);
            return Err(failed(format!("create network namespace {name}"))(error));
        }
        Self::open(name)
    }

    /// Opens a namespace by its name.
    ///
    /// # Errors
    /// [`NetnsError::Missing`] when there is none, or others.
    pub fn open(name: &str) -> Result<Self, NetnsError> {
        let path = path_of(name)?;
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NetnsError::Missing(name.to_owned()),
            _ => failed::<io::Error>(format!("open {}", path.display()))(error),
        })?;
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a function inside the namespace, on a thread of its own, and returns what it returns. A panic in it goes on here.
    ///
    /// What it opens there (sockets) stays in the namespace.
    ///
    /// # Errors
    /// [`NetnsError::System`] when the namespace can't be entered, which needs `CAP_SYS_ADMIN`.
    pub fn run_in<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let entered = on_a_thread(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(function())
        });
        entered.map_err(failed(format!("enter network namespace {}", self.name)))
    }

    /// Makes a command start inside the namespace.
    ///
    /// With `binds`, it also gets mounts of its own, in which each pair's second directory shows the first: `(from, to)`.
    ///
    /// # Errors
    /// [`NetnsError::System`] when the namespace can't be opened again, or a path has a zero byte.
    pub fn command(&self, mut command: Command, binds: &[(PathBuf, PathBuf)]) -> Result<Command, NetnsError> {
        let doing = || format!("start a command in network namespace {}", self.name);
        let file = self.file.try_clone().map_err(failed(doing()))?;
        let binds = binds
            .iter()
            .map(|(from, to)| Ok((c_string(from)?, c_string(to)?)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed(doing()))?;
        let enter = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            if !binds.is_empty() {
                // SAFETY: the child of a fork has one thread and is about to run another program.
                unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
                // Nothing mounted here shows outside, but what is unmounted outside goes here too: a namespace whose name is
                // removed must not live on because a command holds its mount.
                mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
                for (from, to) in &binds {
                    mount_bind(from, to)?;
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, on values prepared before; nothing allocates or locks.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs a function inside a new network namespace without a name, on a thread of its own, for trying things: the namespace
/// vanishes with that thread and with what was opened or made there, by a kill too. `None` where none can be made, which needs
/// `CAP_SYS_ADMIN`: a confined service has it not. A panic in the function goes on here.
///
/// # Errors
/// [`NetnsError::System`] when the kernel refuses for another reason.
pub fn in_a_new_one<T: Send>(function: impl FnOnce() -> T + Send) -> Result<Option<T>, NetnsError> {
    let tried = on_a_thread(|| {
        // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
        match unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
            Ok(()) => Ok(Some(function())),
            Err(rustix::io::Errno::PERM) => Ok(None),
            Err(error) => Err(error),
        }
    });
    tried.map_err(failed("create a network namespace"))
}

/// Removes a name. The namespace itself ends when the last process in it and the last open file of it are gone.
///
/// # Errors
/// [`NetnsError::Missing`] when there is none, or others.
pub fn delete(name: &str) -> Result<(), NetnsError> {
    let path = path_of(name)?;
    let doing = || format!("delete network namespace {name}");
    match unmount(&path, UnmountFlags::DETACH) {
        // A file with nothing mounted on it: the rest of a creation that was interrupted.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(rustix::io::Errno::NOENT) => return Err(NetnsError::Missing(name.to_owned())),
        Err(error) => return Err(failed(doing())(error)),
    }
    fs::remove_file(&path).map_err(failed(doing()))
}

/// The names, in order.
///
/// # Errors
/// [`NetnsError::System`] when the directory exists and can't be read.
pub fn list() -> Result<Vec<String>, NetnsError> {
    let doing = || format!("read {DIRECTORY}");
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(doing())(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed(doing()))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A namespace whose name is removed when this goes out of scope, also by a panic.
#[derive(Debug)]
pub struct NetnsGuard(Netns);

impl NetnsGuard {
    /// As [`Netns::create`].
    ///
    /// # Errors
    /// As [`Netns::create`].
    pub fn create(name: &str) -> Result<Self, NetnsError> {
        Netns::create(name).map(Self)
    }
}

impl std::ops::Deref for NetnsGuard {
    type Target = Netns;
    fn deref(&self) -> &Netns {
        &self.0
    }
}

impl Drop for NetnsGuard {
    fn drop(&mut self) {
        match delete(&self.0.name) {
            // Removed by somebody else meanwhile: what was wanted.
            Ok(()) | Err(NetnsError::Missing(_)) => {}
            Err(error) => log::warn!("{error}"),
        }
    }
}

fn path_of(name: &str) -> Result<PathBuf, NetnsError> {
    if name.is_empty() || name == "." || name == ".." || name.len() > 255 || name.contains(['/', '\0']) {
        return Err(NetnsError::Name(name.to_owned()));
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes the directory a shared mount point, as `ip netns add` does, so that a namespace unmounted here is unmounted in
/// every other mount namespace too and does not live on there.
fn prepare_directory() -> Result<(), NetnsError> {
    let doing = || format!("prepare {DIRECTORY}");
    fs::create_dir_all(DIRECTORY).map_err(failed(doing()))?;
    // As `ip netns add` does: of two mounts at the same time, the second would hide what stands on the first.
    let lock = File::open(DIRECTORY).map_err(failed(doing()))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(failed(doing()))?;
    let share = || mount_change(DIRECTORY, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    match share() {
        Ok(()) => Ok(()),
        // It is not a mount point yet.
        Err(rustix::io::Errno::INVAL) => mount_bind_recursive(DIRECTORY, DIRECTORY)
            .and_then(|()| share())
            .map_err(failed(doing())),
        Err(error) => Err(failed(doing())(error)),
    }
}

fn on_a_thread<T: Send>(function: impl FnOnce() -> rustix::io::Result<T> + Send) -> rustix::io::Result<T> {
    thread::scope(|scope| match scope.spawn(function).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}
