//! What a store does, whoever does it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::{CommitError, Result, Txn, Watch};

/// The number of a commit that changed something. One counter for the whole store, which never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one: where to watch from when everything up to this one is known.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a lease. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes that were put there.
    pub value: Vec<u8>,
    /// The commit that put them there.
    pub revision: Revision,
    /// The lease with which the key goes.
    pub lease: Option<LeaseId>,
}

/// Keys and values under one revision. Every call may come from any thread.
///
/// A read sees everything that was committed before it began, and no half of a commit. The calls wait for the disk (or the
/// network); none of them belongs on the packet path.
pub trait Store: Send + Sync {
    /// The last commit that changed something; 0 when there was none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn revision(&self) -> Result<Revision>;

    /// What stands at `key`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Everything whose key begins with `prefix`, in order of the keys' bytes, and the revision at which it was so.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &str) -> Result<(Revision, Vec<(String, Entry)>)>;

    /// Compares, and makes all changes or none. On return they outlive a crash of the machine. A transaction that changes
    /// nothing (only comparisons; deletes of what is not there) makes no revision and returns the last one.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when a comparison fails, with what was found; others when the transaction is not one that can be
    /// made, or the store cannot be written.
    fn commit(&self, txn: Txn) -> Result<Revision, CommitError>;

    /// What is committed to keys that begin with `prefix`, from revision `from` on: first what has been, then what comes.
    /// A `from` in the future waits for it.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) when `from` is further back than the store remembers: [`Store::list`], and
    /// watch from the revision after the list's.
    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch>;

    /// A lease: keys bound to it are deleted `ttl` after it was last kept alive, by [`Store::expire`].
    ///
    /// After the store was opened anew, a lease lasts its whole `ttl` again, counted from the first call of
    /// [`Store::expire`]: nobody could keep it alive meanwhile.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn grant(&self, ttl: Duration, now: Instant) -> Result<LeaseId>;

    /// Begins the lease's time anew.
    ///
    /// # Errors
    /// [`Error::NoLease`](crate::Error::NoLease) when it has ended.
    fn keep_alive(&self, lease: LeaseId, now: Instant) -> Result<()>;

    /// Ends a lease: its keys are deleted in one commit, whose revision is returned.
    ///
    /// # Errors
    /// [`Error::NoLease`](crate::Error::NoLease) when it has ended before; or the store cannot be written.
    fn revoke(&self, lease: LeaseId) -> Result<Revision>;

    /// Ends the leases whose time is over, all in one commit, and names them. To be called every second or so where leases
    /// are in use; an etcd does this by itself.
    ///
    /// # Errors
    /// When the store cannot be written; the leases then end with a later call.
    fn expire(&self, now: Instant) -> Result<Vec<LeaseId>>;
}
