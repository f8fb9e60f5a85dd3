//! Transactions: what must be so, and what shall be.

use std::collections::BTreeSet;

use crate::{CommitError, LeaseId, Revision};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// The longest value, in bytes. An etcd takes requests of 1.5 MiB unless it is told otherwise.
pub const MAX_VALUE: usize = 1 << 20;
/// The most that a transaction may write, keys and values together, in bytes.
pub const MAX_TXN: usize = 64 << 20;

/// What a key must be for a transaction to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The revision that last wrote it; none when it must not be there.
    pub revision: Option<Revision>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Writes a value, and binds the key to a lease or frees it from one.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease with which the key goes.
        lease: Option<LeaseId>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Operation {
    /// The key that is changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Comparisons and changes that are made together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub(crate) compares: Vec<Compare>,
    pub(crate) operations: Vec<Operation>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on only if `key` was last written by `revision`.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.compares.push(Compare {
            key: key.into(),
            revision: Some(revision),
        });
        self
    }

    /// Goes on only if `key` is not there.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<String>) -> Self {
        self.compares.push(Compare {
            key: key.into(),
            revision: None,
        });
        self
    }

    /// Goes on only if `key` is as it was read: last written by this revision, or absent.
    #[must_use]
    pub fn expect_as_read(self, key: impl Into<String>, revision: Option<Revision>) -> Self {
        match revision {
            Some(revision) => self.expect(key, revision),
            None => self.expect_absent(key),
        }
    }

    /// Writes a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.push(Operation::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        });
        self
    }

    /// Writes a value that goes when the lease ends.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        self.push(Operation::Put {
            key: key.into(),
            value: value.into(),
            lease: Some(lease),
        });
        self
    }

    /// Removes a key, if it is there.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.push(Operation::Delete { key: key.into() });
        self
    }

    /// Adds a change.
    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Whether nothing would be changed.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What must be so.
    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    /// What shall be.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether any store could make it.
    ///
    /// # Errors
    /// A key or value beyond its limit, too much at once, or a key changed twice (of which etcd would not say the order either).
    pub fn check(&self) -> Result<(), CommitError> {
        let mut changed = BTreeSet::new();
        let mut bytes = 0usize;
        for key in self.compares.iter().map(|compare| compare.key.as_str()) {
            check_key(key)?;
        }
        for operation in &self.operations {
            let key = operation.key();
            check_key(key)?;
            if !changed.insert(key) {
                return Err(CommitError::Twice { key: key.into() });
            }
            bytes = bytes.saturating_add(key.len());
            if let Operation::Put { value, .. } = operation {
                if value.len() > MAX_VALUE {
                    return Err(CommitError::ValueTooLong {
                        key: key.into(),
                        bytes: value.len(),
                    });
                }
                bytes = bytes.saturating_add(value.len());
            }
        }
        if bytes > MAX_TXN {
            return Err(CommitError::TxnTooLarge { bytes });
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), CommitError> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(CommitError::BadKey { bytes: key.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        let of = |txn: Txn| txn.check().unwrap_err().to_string();
        assert!(of(Txn::new().put("", "")).contains("0 bytes"));
        assert!(of(Txn::new().expect_absent("k".repeat(1025))).contains("1025 bytes"));
        assert!(of(Txn::new().put("k", vec![0; MAX_VALUE + 1])).contains("`k`"));
        assert!(of(Txn::new().put("k", "1").delete("k")).contains("twice"));
        let mut large = Txn::new();
        for number in 0..65 {
            large = large.put(format!("k{number}"), vec![0; MAX_VALUE]);
        }
        assert!(matches!(large.check(), Err(CommitError::TxnTooLarge { .. })));
        Txn::new().put("k".repeat(MAX_KEY), vec![0; MAX_VALUE]).check().unwrap();
    }
}
