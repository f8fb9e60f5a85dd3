//! Files that are whole or not there: written beside, synced, renamed over.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// How the name of a file begins that is still being written.
const UNFINISHED: &str = ".fielato-";

/// Makes `dir` and what leads to it, with mode 0700 for what is new: keys, state, the control socket.
///
/// # Errors
/// When a folder cannot be made.
pub fn ensure_dir(dir: &Path) -> Result<()> {
    create_dir(dir, 0o700)
}

/// Makes `dir` and what leads to it, with mode 0755 for what is new: the configuration holds no secrets, and those who may
/// not change it may read it.
///
/// # Errors
/// When a folder cannot be made.
pub fn ensure_readable_dir(dir: &Path) -> Result<()> {
    create_dir(dir, 0o755)
}

fn create_dir(dir: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))
}

/// Replaces `path` by `contents` at once, with `mode`. A reader sees the old file or the new one; after a power cut one of
/// the two is there.
///
/// # Errors
/// When the folder cannot be written. The old file is then untouched.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    write_beside(path, contents, mode)
        .and_then(|file| file.persist(path).map_err(|error| error.error))
        .and_then(|_| sync_dir(path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Creates `path` with `contents` and `mode`; never replaces.
///
/// # Errors
/// When the file exists, or the folder cannot be written.
pub fn create_new(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    write_beside(path, contents, mode)
        .and_then(|file| file.persist_noclobber(path).map_err(|error| error.error))
        .and_then(|_| sync_dir(path))
        .with_context(|| match path.exists() {
            true => format!("{} exists and is not overwritten", path.display()),
            false => format!("cannot write {}", path.display()),
        })
}

/// Removes `path`; a missing file is fine.
///
/// # Errors
/// When the file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Reads `path`; `None` when it is not there.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_if_exists(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Removes what killed processes left half-written in `dir`. Only for whoever is the only writer there.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn remove_unfinished(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn write_beside(path: &Path, contents: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)?;
    file.write_all(contents)?;
    // The umask may have taken bits away from a file that is meant to be readable.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_new_never_replaces_and_replace_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create_new(&path, b"one", 0o600).unwrap();
        let refused = create_new(&path, b"two", 0o600).unwrap_err();
        assert!(refused.to_string().contains("exists and is not overwritten"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside the file"
        );
    }

    #[test]
    fn half_written_files_are_removed_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".fielato-AbCdEf"), "{").unwrap();
        fs::write(dir.path().join("bans.json"), "{}").unwrap();
        remove_unfinished(dir.path()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["bans.json"]);
        remove_unfinished(&dir.path().join("none")).unwrap();
    }

    #[test]
    fn missing_files_are_none_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(read_if_exists(&path).unwrap(), None);
        remove(&path).unwrap();
    }
}
