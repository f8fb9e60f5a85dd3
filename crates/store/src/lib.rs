//! Keys and values with revisions: what the hub must not forget.
//!
//! [`Store`] speaks in etcd's terms: one revision counts all commits, a [`Txn`] compares and then changes, [`Watch`] replays
//! what happened since a revision and goes on live, and keys may be bound to a lease that ends unless it is kept alive.
//! [`Embedded`] keeps it all in one file of this machine. Time is an argument.
//!
//! ```
//! use fielato_store::{CommitError, Embedded, Revision, Store, Txn};
//!
//! let dir = tempfile::tempdir()?;
//! let store = Embedded::open(&dir.path().join("store.redb"))?;
//! let first = store.commit(Txn::new().expect_absent("policy/current").put("policy/current", "1"))?;
//! let watch = store.watch("policy/", first)?;
//!
//! // Two who both think that 1 is current: the first wins, the second is told.
//! let second = store.commit(Txn::new().expect("policy/current", first).put("policy/current", "2"))?;
//! let late = store.commit(Txn::new().expect("policy/current", first).put("policy/current", "3"));
//! assert!(matches!(late, Err(CommitError::Conflict { found: Some(found), .. }) if found == second));
//!
//! assert_eq!(watch.try_next()?.map(|commit| commit.revision), Some(first));
//! assert_eq!(watch.try_next()?.map(|commit| commit.revision), Some(second));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod embedded;
mod error;
mod store;
mod txn;
mod watch;

pub use embedded::{Embedded, Options};
pub use error::{CommitError, Error, Result};
pub use store::{Entry, LeaseId, Revision, Store};
pub use txn::{Compare, MAX_KEY, MAX_TXN, MAX_VALUE, Operation, Txn};
pub use watch::{Change, Commit, Watch};
