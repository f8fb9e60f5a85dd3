//! The last confirmed policy as plain files, for the day on which the store cannot be read.
//!
//! `good-12/` holds revision 12: its files, and `checksums`, which is written last and which `b2sum -c checksums` understands.
//! A slash in a file's name is written `%2F`.
//! The next one is complete, under its own name, before this one is removed; so there is always a whole one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use blake2::{Blake2b512, Digest as _};

use crate::{files, records};

const CHECKSUMS: &str = "checksums";
const PREFIX: &str = "good-";

/// A policy that was read from plain files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The revision's number.
    pub number: u64,
    /// Its files: names and texts, the configuration file first.
    pub files: Vec<(String, String)>,
}

/// Reads the newest whole policy below `folder`; those that are damaged are passed over.
///
/// # Errors
/// When the folder cannot be read.
pub fn read(folder: &Path) -> Result<Option<LastGood>> {
    for (&number, path) in found(folder)?.iter().rev() {
        match read_whole(path) {
            Ok(files) => return Ok(Some(LastGood { number, files })),
            Err(error) => log::warn!("{} is passed over: {error:#}", path.display()),
        }
    }
    Ok(None)
}

/// Writes a policy, and then removes the others.
pub(super) fn write(folder: &Path, number: u64, policy: &[(String, String)]) -> Result<()> {
    files::ensure_dir(folder)?;
    let path = folder.join(format!("{PREFIX}{number}"));
    // One that was begun, or damaged, or of a store that is no more.
    remove(&path)?;
    files::ensure_dir(&path)?;
    let mut checksums = String::new();
    for (name, text) in policy {
        let name = file_name(name);
        files::create_new(&path.join(&name), text.as_bytes(), 0o600)?;
        checksums.push_str(&format!("{}  {name}\n", checksum(text)));
    }
    checksums.push_str(&last_line(&checksums));
    sync(folder)?;
    files::create_new(&path.join(CHECKSUMS), checksums.as_bytes(), 0o600)?;
    for (_, other) in found(folder)?.iter().filter(|(other, _)| **other != number) {
        remove(other)?;
    }
    Ok(())
}

fn read_whole(path: &Path) -> Result<Vec<(String, String)>> {
    let read = |name: &str| {
        let path = path.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let checksums = read(CHECKSUMS)?;
    let lines = checksums.rfind('#').and_then(|end| checksums.get(..end)).unwrap_or_default();
    anyhow::ensure!(
        !lines.is_empty() && checksums.strip_prefix(lines) == Some(&last_line(lines)),
        "its list of checksums is damaged"
    );
    lines
        .lines()
        .map(|line| {
            let (sum, file) = line.split_once("  ").context("its list of checksums is damaged")?;
            let name = records::text(file.strip_suffix(FILE).unwrap_or(file)).context("its list of checksums is damaged")?;
            // Nothing outside the folder is read, whatever the list says.
            anyhow::ensure!(file_name(&name) == file, "its list of checksums is damaged");
            let text = read(file)?;
            anyhow::ensure!(checksum(&text) == sum, "{file} is not what was written");
            Ok((name, text))
        })
        .collect()
}

/// Policies by number, whole or not.
fn found(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(context)?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok()) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<()> {
    // First what makes it whole, so that an interrupted removal leaves nothing that looks so.
    files::remove(&path.join(CHECKSUMS))?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<()> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("cannot sync {}", folder.display()))
}

/// Behind a name that would be that of the checksums.
const FILE: &str = ".file";

fn file_name(name: &str) -> String {
    let part = records::part(name);
    if part == CHECKSUMS || part.ends_with(FILE) {
        part + FILE
    } else {
        part
    }
}

/// A comment to `b2sum`: with it, a list that lacks its end is known.
fn last_line(lines: &str) -> String {
    format!("# {}\n", checksum(lines))
}

fn checksum(text: &str) -> String {
    super::hex(&Blake2b512::digest(text.as_bytes()))
}
