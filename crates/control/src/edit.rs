//! Edits of the configuration file: one at a time, on the file as it is now, whole or not at all.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use crate::source::{self, Texts};
use crate::{Paths, files};

/// What a file is called that was replaced by an earlier revision's.
const REPLACED: &str = "before-rollback";

/// An edit that has begun. Another one waits until this one is committed or dropped.
#[derive(Debug)]
pub struct Edit {
    /// The file as it is, with those that it includes; only the file itself is edited.
    pub texts: Texts,
    path: PathBuf,
    mode: u32,
    _folder: File,
}

impl Edit {
    /// Waits for other edits to end, then reads and checks the file.
    ///
    /// # Errors
    /// As [`source::load`].
    pub fn begin(paths: &Paths) -> Result<Self> {
        let path = paths.config();
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let dir = path.parent().context("the configuration file has no folder")?;
        let folder = File::open(dir).with_context(|| {
            format!(
                "cannot open {}; `fielato init` writes a first configuration there",
                dir.display()
            )
        })?;
        flock(&folder, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", dir.display()))?;
        let (texts, _) = source::load_texts(paths)?;
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        Ok(Self {
            texts,
            path,
            mode,
            _folder: folder,
        })
    }

    /// Replaces the file by `text`.
    ///
    /// # Errors
    /// When the file cannot be written; it is then as it was.
    pub fn commit(self, text: &str) -> Result<()> {
        files::replace(&self.path, text.as_bytes(), self.mode)
    }
}

/// Makes the configuration files what an earlier revision's were: names and texts. What stood there and is another text is kept
/// beside, as `NAME.before-rollback`. Returns the files as they were, for [`put_back`] again.
///
/// # Errors
/// When a file cannot be written.
pub fn put_back(paths: &Paths, earlier: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let mut before = Vec::new();
    for (name, text) in earlier {
        let path = path_of(paths, name)?;
        let path = fs::canonicalize(&path).unwrap_or(path);
        let old = files::read_if_exists(&path)?;
        if old.as_deref() == Some(text) {
            continue;
        }
        let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode() & 0o777);
        if let Some(old) = old {
            let mut beside = path.clone().into_os_string();
            beside.push(format!(".{REPLACED}"));
            files::replace(beside.as_ref(), old.as_bytes(), mode)?;
            before.push((name.clone(), old));
        }
        files::replace(&path, text.as_bytes(), mode)?;
    }
    Ok(before)
}

/// Where a file of a policy stands: the configuration file in its own place, others from its folder on.
fn path_of(paths: &Paths, name: &str) -> Result<PathBuf> {
    let config = paths.config();
    if name == source::MAIN {
        return Ok(config);
    }
    let folder = config.parent().context("the configuration file has no folder")?;
    Ok(folder.join(name))
}
