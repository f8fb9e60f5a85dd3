//! Why a call on the database did not succeed, before it is said to anybody.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::file::is_full;
use crate::{CommitError, Error};

#[derive(Debug)]
pub(super) enum Fail {
    /// The database is well; what was asked cannot be.
    Refused(CommitError),
    /// redb's own errors.
    Database(redb::Error),
    /// redb panicked, as it may on a file that something else has written to.
    Panicked(String),
    /// What redb gave is not what was stored.
    Malformed(&'static str),
}

impl Fail {
    /// The same in this crate's words.
    pub(super) fn explain(self, path: &Path) -> CommitError {
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what }.into();
        match self {
            Self::Refused(error) => error,
            Self::Panicked(what) => corrupt(what),
            Self::Malformed(what) => corrupt(format!("{what} is not as it was written")),
            Self::Database(redb::Error::Io(source)) if is_full(&source) => Error::Full(path.into()).into(),
            Self::Database(redb::Error::Io(source)) => match source.kind() {
                // What redb says of a file that does not begin as its files do, or ends too soon.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => corrupt(source.to_string()),
                _ => Error::Io {
                    path: path.into(),
                    doing: "read or write",
                    source,
                }
                .into(),
            },
            Self::Database(error) => corrupt(error.to_string()),
        }
    }
}

/// Runs this, and makes a panic an error. What it works on must not be used afterwards, but for being dropped.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Fail>) -> Result<T, Fail> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Fail::Panicked(words(panic.as_ref()))))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("its parts do not fit together").to_owned()
}

impl From<CommitError> for Fail {
    fn from(error: CommitError) -> Self {
        Self::Refused(error)
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fail {
            fn from(error: $error) -> Self {
                Self::Database(error.into())
            }
        })*
    };
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
