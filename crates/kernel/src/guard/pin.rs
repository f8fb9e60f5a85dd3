//! The pin: a file in a bpffs that keeps the link, and with it the bans, when the process is gone.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::error::GuardError;
use super::sys;

/// `BPF_FS_MAGIC`, linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// What stands at a pin's path.
#[derive(Debug)]
pub(super) enum Place {
    /// There is no bpffs, or it can't be written.
    NoBpffs,
    /// Nothing; the directory is there.
    Free,
    /// A pinned XDP link.
    Held(Held),
}

/// A pinned XDP link.
#[derive(Debug)]
pub(super) struct Held {
    link: OwnedFd,
    /// The program's id.
    pub(super) program: u32,
}

/// Looks at a path and makes the directories above it, where that is a bpffs.
pub(super) fn prepare(path: &Path) -> Result<Place, GuardError> {
    let fail = |source| GuardError::Pin {
        path: path.into(),
        source,
    };
    if let Some(held) = look(path)? {
        return Ok(Place::Held(held));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !on_bpffs(directory).map_err(fail)? {
        return Ok(Place::NoBpffs);
    }
    match fs::create_dir_all(directory) {
        Ok(()) => Ok(Place::Free),
        Err(error) if unwritable(&error) => Ok(Place::NoBpffs),
        Err(error) => Err(fail(error)),
    }
}

/// Removes a pin; false when there is none. The link goes with it unless a process holds it.
pub(super) fn remove(path: &Path) -> Result<bool, GuardError> {
    match look(path)? {
        Some(held) => held.remove(path).map(|()| true),
        None => Ok(false),
    }
}

impl Held {
    /// Removes the file, then lets go of the link. In this order the kernel detaches before this returns: the last close
    /// of a descriptor detaches at once, the removal of the last pin some time later.
    pub(super) fn remove(self, path: &Path) -> Result<(), GuardError> {
        fs::remove_file(path).map_err(|source| GuardError::Pin {
            path: path.into(),
            source,
        })?;
        drop(self.link);
        Ok(())
    }
}

/// Whether an error means that pinning is not possible here, rather than that something went wrong.
pub(crate) fn unwritable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM))
}

fn look(path: &Path) -> Result<Option<Held>, GuardError> {
    let fail = |source| GuardError::Pin {
        path: path.into(),
        source,
    };
    let foreign = |what: &str| GuardError::ForeignPin {
        path: path.into(),
        what: what.into(),
    };
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if file.is_dir() {
        return Err(foreign("a directory"));
    }
    if !file.is_file() || !on_bpffs(path).map_err(fail)? {
        return Err(foreign("a file outside of any bpffs"));
    }
    let link = sys::open_pin(path).map_err(fail)?;
    // The kernel tells what a BPF descriptor is in fdinfo (proc_pid_fdinfo(5)).
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).map_err(fail)?;
    let field = |name: &str| {
        told.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    if field("link_type") != Some("xdp") {
        return Err(foreign("another kind of BPF object"));
    }
    let program = field("prog_id")
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| foreign("a link without a program"))?;
    Ok(Some(Held { link, program }))
}

/// Whether a path, or what exists of it, is in a bpffs.
pub(crate) fn on_bpffs(path: &Path) -> io::Result<bool> {
    for ancestor in path.ancestors() {
        match rustix::fs::statfs(ancestor) {
            Ok(system) => return Ok(system.f_type as u32 == BPF_FS_MAGIC),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
