//! What can go wrong, and what to do then.

use std::io;
use std::path::PathBuf;

use crate::txn::{MAX_KEY, MAX_TXN, MAX_VALUE};
use crate::{LeaseId, Revision};

/// The result of a call that does not commit.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not what was written.
    #[error(
        "{} is damaged ({what}); put a copy of it in its place, or move it away: a new one is begun then, and what it held (revisions, grants, usage) is lost",
        path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; only one daemon may have it open", .0.display())]
    Locked(PathBuf),
    /// A later version of Fielato wrote it.
    #[error("{} has format {found}, and this version knows {known}; use the version of Fielato that wrote it", path.display())]
    NewerFormat {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this version writes.
        known: u64,
    },
    /// There is no space left for what was to be written. Nothing of it was.
    #[error("{}: no space is left on its disk; nothing was changed. Free some and try again", .0.display())]
    Full(PathBuf),
    /// The disk failed while a commit's last block was on its way.
    #[error(
        "{}: the disk failed in the middle of a change, and nobody can say whether it is there ({reason}); see to the disk, then restart the daemon",
        path.display()
    )]
    Unsure {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What a watch asks for is further back than the store remembers.
    #[error("revision {from} is forgotten, the oldest that can be watched from is {oldest}; list anew and watch from there")]
    Compacted {
        /// Where the watch was to begin.
        from: Revision,
        /// Where it can begin.
        oldest: Revision,
    },
    /// A watch was not read for so long that commits had to be left out.
    #[error("this watch was not read for {missed} commits and more; list anew and watch from there")]
    Lagged {
        /// How many commits waited when it was given up.
        missed: usize,
    },
    /// The store is no more.
    #[error("the store was closed")]
    Closed,
    /// No such lease.
    #[error("there is no lease {0}, or it has ended")]
    NoLease(LeaseId),
}

/// Why a transaction was not made. Whatever the reason, nothing of it was, but for [`Error::Unsure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody else was faster.
    #[error("`{key}` was changed meanwhile ({}, and {} was expected); read it again", state(*found), state(*expected))]
    Conflict {
        /// The key that was compared.
        key: String,
        /// What it was to be: last written by this revision, or absent.
        expected: Option<Revision>,
        /// What it is.
        found: Option<Revision>,
    },
    /// A key that cannot be one.
    #[error("a key has 1 to {MAX_KEY} bytes, and this one has {bytes} bytes")]
    BadKey {
        /// Its length.
        bytes: usize,
    },
    /// A value beyond the limit.
    #[error("a value has at most {MAX_VALUE} bytes, and that of `{key}` has {bytes}; store it in parts")]
    ValueTooLong {
        /// The key.
        key: String,
        /// The value's length.
        bytes: usize,
    },
    /// Too much at once.
    #[error("a transaction writes at most {MAX_TXN} bytes, and this one has {bytes}; make several")]
    TxnTooLarge {
        /// The length of all keys and values.
        bytes: usize,
    },
    /// A key changed more than once.
    #[error("`{key}` is changed twice in one transaction; once is enough")]
    Twice {
        /// The key.
        key: String,
    },
    /// The store itself.
    #[error(transparent)]
    Store(#[from] Error),
}

fn state(revision: Option<Revision>) -> String {
    revision.map_or_else(|| "absent".into(), |revision| format!("revision {revision}"))
}
