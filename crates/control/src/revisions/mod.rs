//! Revisions: every policy that was applied, with its text, by whom, when and why.
//!
//! Beside the store, the last confirmed policy stands as plain files ([`last_good`]), so that a damaged store costs the past and
//! not the policy.

mod diff;
pub mod last_good;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use fielato_store::{MAX_VALUE, Store, Txn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::protocol::{RevisionReport, VERSION};
use crate::records;

/// How many revisions are kept.
pub const KEPT: usize = 1_000;
/// How much text they may have together, in bytes; the same text is kept and counted once.
pub const KEPT_BYTES: u64 = 256 << 20;

const HEAD: &str = "policy/head";
const REVISIONS: &str = "policy/revision/";
const TEXTS: &str = "policy/text/";

/// A policy that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// 1, 2, 3…
    pub number: u64,
    /// Who applied it.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// What for, in the author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What brought it.
    pub origin: Origin,
    /// Whether it stands.
    pub state: State,
    /// Its files.
    files: Vec<StoredFile>,
}

impl Revision {
    /// The names of its files, the configuration file first.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }
}

/// What brought a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `fielato apply`.
    Apply,
    /// `fielato rollback`: the text of an earlier revision.
    Rollback(u64),
    /// `fielato reload`, or SIGHUP.
    Reload,
    /// `fielato up`, with a file that was changed before.
    Up,
    /// `fielato host enrol`, or the host that used its token.
    Enrol,
}

/// Whether a revision stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is in force, and undone at this moment unless it is confirmed.
    Pending(Timestamp),
    /// It is in force, or was until the next one.
    Confirmed,
    /// It was undone, because of this.
    RolledBack(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredFile {
    name: String,
    bytes: u64,
    /// BLAKE2b-256 of the text, under which it is stored.
    hash: String,
}

/// A policy to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewRevision<'a> {
    /// The configuration file, then what it includes: name and text.
    pub files: &'a [(String, String)],
    /// Who applies it.
    pub author: &'a str,
    /// What for.
    pub message: Option<&'a str>,
    /// What brings it.
    pub origin: Origin,
    /// Until when it must be confirmed; none when it stands at once.
    pub confirm_until: Option<Timestamp>,
    /// The present.
    pub now: Timestamp,
}

/// There is no such revision, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no revision {number}; {}", match kept { Some((first, last)) => format!("{first} to {last} are kept, see `fielato log`"), None => "none was recorded yet".into() })]
pub struct NoRevision {
    /// The number asked for.
    pub number: u64,
    /// The numbers of the first and the last that are kept.
    pub kept: Option<(u64, u64)>,
}

/// The revision is in no state for this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongState {
    /// To be confirmed, and not waiting for it.
    #[error("revision {0} does not wait for a confirmation; it was confirmed before")]
    Confirmed(u64),
    /// To be confirmed, and undone.
    #[error("revision {0} was rolled back ({1}); apply it again")]
    RolledBack(u64, String),
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    revisions: usize,
    bytes: u64,
}

/// The revisions in a store.
pub struct Revisions {
    store: Arc<dyn Store>,
    /// The folder of [`last_good`].
    folder: PathBuf,
    limits: Limits,
    index: Mutex<Index>,
}

/// What is in the store, but for the texts.
#[derive(Default)]
struct Index {
    /// The revision of the store that last wrote [`HEAD`].
    head: Option<fielato_store::Revision>,
    last: u64,
    by_number: BTreeMap<u64, Revision>,
}

impl Revisions {
    /// Those in `store`; `folder` is where the last confirmed one stands as plain files ([`crate::Paths::last_good`]), which is
    /// brought up to date.
    ///
    /// # Errors
    /// When the store cannot be read, or the folder cannot be written.
    pub fn open(store: Arc<dyn Store>, folder: impl Into<PathBuf>) -> Result<Self> {
        let limits = Limits {
            revisions: KEPT,
            bytes: KEPT_BYTES,
        };
        Self::open_limited(store, folder.into(), limits)
    }

    fn open_limited(store: Arc<dyn Store>, folder: PathBuf, limits: Limits) -> Result<Self> {
        let mut index = Index::default();
        if let Some(head) = store.get(HEAD)? {
            index.head = Some(head.revision);
            index.last = records::read(HEAD, &head.value)?;
        }
        for (key, entry) in store.list(REVISIONS)?.1 {
            let revision: Revision = records::read(&key, &entry.value)?;
            index.by_number.insert(revision.number, revision);
        }
        if index.head.is_none() {
            // The store was lost. Hosts and people know the old numbers, so none is given again.
            index.last = last_good::read(&folder)?.map_or(0, |good| good.number);
        }
        let revisions = Self {
            store,
            folder,
            limits,
            index: Mutex::new(index),
        };
        revisions.keep_last_good()?;
        Ok(revisions)
    }

    /// The revision in force: the last that was not rolled back.
    pub fn current(&self) -> Option<Revision> {
        self.index().standing(|_| true)
    }

    /// The last confirmed revision: what to go back to.
    pub fn last_good(&self) -> Option<Revision> {
        self.index().standing(|state| *state == State::Confirmed)
    }

    /// What waits to be confirmed, and until when: the current revision, if it does.
    pub fn pending(&self) -> Option<(Revision, Timestamp)> {
        self.current().and_then(|revision| match revision.state {
            State::Pending(until) => Some((revision, until)),
            State::Confirmed | State::RolledBack(_) => None,
        })
    }

    /// Whether this is the text of the current revision: then `up` and `reload` have nothing to record.
    pub fn is_current(&self, files: &[(String, String)]) -> bool {
        self.current().is_some_and(|revision| revision.files == stored(files))
    }

    /// A revision.
    pub fn get(&self, number: u64) -> Option<Revision> {
        self.index().by_number.get(&number).cloned()
    }

    /// The last revisions, the newest first.
    pub fn log(&self, limit: usize) -> Vec<Revision> {
        self.index().by_number.values().rev().take(limit).cloned().collect()
    }

    /// A revision's files: names and texts, in the order in which they were recorded.
    ///
    /// # Errors
    /// [`NoRevision`]; when the store cannot be read.
    pub fn text(&self, number: u64) -> Result<Vec<(String, String)>> {
        let revision = self.find(number)?;
        revision
            .files
            .iter()
            .map(|file| Ok((file.name.clone(), self.read_text(file)?)))
            .collect()
    }

    /// What changed from one revision to another, as a unified diff of their files. Empty when nothing did.
    ///
    /// # Errors
    /// [`NoRevision`]; when the store cannot be read.
    pub fn diff(&self, from: u64, to: u64) -> Result<String> {
        Ok(diff::unified(
            &format!("revision {from}"),
            &self.text(from)?,
            &format!("revision {to}"),
            &self.text(to)?,
        ))
    }

    /// A revision with its text and what it changed; the one in force when `None`.
    ///
    /// # Errors
    /// As [`Revisions::text`].
    pub fn report(&self, number: Option<u64>) -> Result<RevisionReport> {
        let number = match number {
            Some(number) => number,
            None => self.current().context("no policy was applied yet; `fielato apply`")?.number,
        };
        let revision = self.find(number)?;
        // What was rolled back was never what another followed.
        let stood = |earlier: &&Revision| !matches!(earlier.state, State::RolledBack(_));
        let before = self
            .index()
            .by_number
            .range(..number)
            .map(|(_, earlier)| earlier)
            .rev()
            .find(stood)
            .map(|earlier| earlier.number);
        let files = self.text(number)?;
        let diff = match before {
            Some(before) => self.diff(before, number)?,
            None => diff::unified("nothing", &[], &format!("revision {number}"), &files),
        };
        Ok(RevisionReport {
            version: VERSION,
            revision,
            files,
            before,
            diff,
        })
    }

    /// What would change if these files were applied to a revision.
    ///
    /// # Errors
    /// As [`Revisions::diff`].
    pub fn diff_to(&self, from: u64, files: &[(String, String)]) -> Result<String> {
        Ok(diff::unified(&format!("revision {from}"), &self.text(from)?, "new", files))
    }

    /// Records a policy that is being applied. What is older than what is kept goes.
    ///
    /// # Errors
    /// When the store cannot be written: then nothing is recorded, and the policy must not be applied.
    pub fn record(&self, new: NewRevision<'_>) -> Result<Revision> {
        let NewRevision {
            files,
            author,
            message,
            origin,
            confirm_until,
            now,
        } = new;
        let mut index = self.index();
        let revision = Revision {
            number: index.last.saturating_add(1),
            author: author.into(),
            time: now,
            message: message.map(Into::into),
            origin,
            state: confirm_until.map_or(State::Confirmed, State::Pending),
            files: stored(files),
        };
        let mut kept = index.by_number.clone();
        let changed: Vec<Revision> = replaced(&kept, &revision).into_iter().chain([revision.clone()]).collect();
        kept.extend(changed.iter().map(|revision| (revision.number, revision.clone())));
        let dropped = drop_oldest(&mut kept, self.limits);

        let mut txn = Txn::new().expect_as_read(HEAD, index.head);
        txn = txn.put(HEAD, records::write(&revision.number)?);
        txn = put_all(txn, changed.iter().filter(|changed| kept.contains_key(&changed.number)))?;
        let (before, after) = (texts(&index.by_number), texts(&kept));
        let mut written = BTreeSet::new();
        for (file, (_, text)) in revision.files.iter().zip(files) {
            if before.contains_key(&file.hash) || !written.insert(&file.hash) {
                continue;
            }
            for (part, bytes) in text.as_bytes().chunks(MAX_VALUE).enumerate() {
                txn = txn.put(text_key(&file.hash, part as u64), bytes);
            }
        }
        for number in dropped {
            txn = txn.delete(key(number));
        }
        for (hash, bytes) in before.iter().filter(|(hash, _)| !after.contains_key(*hash)) {
            for part in 0..bytes.div_ceil(MAX_VALUE as u64) {
                txn = txn.delete(text_key(hash, part));
            }
        }
        index.head = Some(self.store.commit(txn).context("the revision cannot be recorded")?);
        index.last = revision.number;
        index.by_number = kept;
        drop(index);
        self.keep_last_good_or_say_so();
        Ok(revision)
    }

    /// Confirms a revision that waits for it. Those before it that still wait are replaced by it.
    ///
    /// # Errors
    /// [`NoRevision`], [`WrongState`]; when the store cannot be written.
    pub fn confirm(&self, number: u64) -> Result<Revision> {
        match self.find(number)?.state {
            State::Pending(_) => {}
            State::Confirmed => return Err(WrongState::Confirmed(number).into()),
            State::RolledBack(why) => return Err(WrongState::RolledBack(number, why).into()),
        }
        let confirmed = self.set_state(number, State::Confirmed)?;
        self.keep_last_good_or_say_so();
        Ok(confirmed)
    }

    /// Notes that a revision was undone, and why. The revision before it is the current one again.
    ///
    /// # Errors
    /// [`NoRevision`]; when the store cannot be written.
    pub fn roll_back(&self, number: u64, why: &str) -> Result<Revision> {
        let undone = self.set_state(number, State::RolledBack(why.into()))?;
        self.keep_last_good_or_say_so();
        Ok(undone)
    }

    fn set_state(&self, number: u64, state: State) -> Result<Revision> {
        let mut revision = self.find(number)?;
        revision.state = state;
        let mut index = self.index();
        let replaced = replaced(&index.by_number, &revision);
        let txn = Txn::new()
            .expect_as_read(HEAD, index.head)
            .put(HEAD, records::write(&index.last)?);
        let txn = put_all(txn, replaced.iter().chain([&revision]))?;
        index.head = Some(self.store.commit(txn).context("the revision's state cannot be recorded")?);
        for changed in replaced.into_iter().chain([revision.clone()]) {
            index.by_number.insert(changed.number, changed);
        }
        Ok(revision)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, number: u64) -> Result<Revision, NoRevision> {
        let index = self.index();
        index.by_number.get(&number).cloned().ok_or_else(|| NoRevision {
            number,
            kept: index
                .by_number
                .keys()
                .next()
                .copied()
                .zip(index.by_number.keys().next_back().copied()),
        })
    }

    fn read_text(&self, file: &StoredFile) -> Result<String> {
        let mut bytes = Vec::new();
        for part in 0..file.bytes.div_ceil(MAX_VALUE as u64) {
            let key = text_key(&file.hash, part);
            let entry = self.store.get(&key)?;
            bytes.extend(
                entry
                    .with_context(|| format!("the store lacks `{key}`, a part of {}", file.name))?
                    .value,
            );
        }
        String::from_utf8(bytes).with_context(|| format!("the stored text of {} is not text", file.name))
    }

    /// Brings the plain files up to date.
    fn keep_last_good(&self) -> Result<()> {
        let Some(good) = self.last_good() else {
            return Ok(());
        };
        if last_good::read(&self.folder)?.is_some_and(|kept| kept.number == good.number) {
            return Ok(());
        }
        last_good::write(&self.folder, good.number, &self.text(good.number)?)
    }

    /// The same, where the revision itself is recorded already. It is made up for at the next change or start.
    fn keep_last_good_or_say_so(&self) {
        if let Err(error) = self.keep_last_good() {
            log::warn!("the last good policy cannot be kept as a plain file: {error:#}");
        }
    }
}

impl Index {
    fn standing(&self, wanted: impl Fn(&State) -> bool) -> Option<Revision> {
        let stands = |revision: &&Revision| !matches!(revision.state, State::RolledBack(_)) && wanted(&revision.state);
        self.by_number.values().rev().find(stands).cloned()
    }
}

fn put_all<'a>(mut txn: Txn, revisions: impl IntoIterator<Item = &'a Revision>) -> Result<Txn> {
    for revision in revisions {
        txn = txn.put(key(revision.number), records::write(revision)?);
    }
    Ok(txn)
}

/// The revisions before a confirmed one that still wait, with their new state: nobody can confirm them any more.
fn replaced(revisions: &BTreeMap<u64, Revision>, by: &Revision) -> Vec<Revision> {
    if by.state != State::Confirmed {
        return Vec::new();
    }
    let waiting = revisions
        .range(..by.number)
        .filter(|(_, revision)| matches!(revision.state, State::Pending(_)));
    let why = format!("replaced by revision {} before it was confirmed", by.number);
    waiting
        .map(|(_, revision)| Revision {
            state: State::RolledBack(why.clone()),
            ..revision.clone()
        })
        .collect()
}

/// Removes the oldest revisions beyond the limits, but never the one in force nor the one to go back to. Returns their numbers.
fn drop_oldest(kept: &mut BTreeMap<u64, Revision>, limits: Limits) -> Vec<u64> {
    let index = |wanted: fn(&State) -> bool| {
        let stands = kept.values().rev().find(|revision| wanted(&revision.state));
        stands.map(|revision| revision.number)
    };
    let needed = [
        index(|state| !matches!(state, State::RolledBack(_))),
        index(|state| *state == State::Confirmed),
        kept.keys().next_back().copied(),
    ];
    let mut bytes: u64 = texts(kept).values().sum();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for file in kept.values().flat_map(|revision| &revision.files) {
        *uses.entry(file.hash.clone()).or_default() += 1;
    }
    let mut dropped = Vec::new();
    let candidates: Vec<u64> = kept
        .keys()
        .copied()
        .filter(|number| !needed.contains(&Some(*number)))
        .collect();
    for number in candidates {
        if kept.len() <= limits.revisions && bytes <= limits.bytes {
            break;
        }
        for file in kept.remove(&number).into_iter().flat_map(|revision| revision.files) {
            if let Some(count) = uses.get_mut(&file.hash) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    bytes = bytes.saturating_sub(file.bytes);
                }
            }
        }
        dropped.push(number);
    }
    dropped
}

/// The texts of these revisions: hash and length.
fn texts(revisions: &BTreeMap<u64, Revision>) -> BTreeMap<String, u64> {
    let files = revisions.values().flat_map(|revision| &revision.files);
    files.map(|file| (file.hash.clone(), file.bytes)).collect()
}

fn stored(files: &[(String, String)]) -> Vec<StoredFile> {
    let file = |(name, text): &(String, String)| StoredFile {
        name: name.clone(),
        bytes: text.len() as u64,
        hash: hash(text.as_bytes()),
    };
    files.iter().map(file).collect()
}

fn hash(bytes: &[u8]) -> String {
    use blake2::Digest as _;
    hex(&blake2::Blake2b::<blake2::digest::consts::U32>::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(number: u64) -> String {
    // As wide as a number can be, so that the order of keys is that of numbers.
    format!("{REVISIONS}{number:020}")
}

fn text_key(hash: &str, part: u64) -> String {
    format!("{TEXTS}{hash}/{part}")
}

#[cfg(test)]
mod tests;
