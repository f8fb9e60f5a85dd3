//! Temporary access, given by `fielato grant`: kept across restarts, ended by the clock.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use fielato_policy::Grant;
use fielato_store::{Store, Txn};
use jiff::Timestamp;

use crate::records;

const PREFIX: &str = "grants/";

/// The grants in the store, one for each member and service.
#[derive(Clone)]
pub struct Grants {
    store: Arc<dyn Store>,
}

impl Grants {
    /// Those in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Gives access. Returns the grant for the same member and service that it takes the place of, if there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn add(&self, grant: &Grant) -> Result<Option<Grant>> {
        let key = key(&grant.member, &grant.service);
        let before = self.find(&key)?;
        self.store.commit(Txn::new().put(key, records::write(grant)?))?;
        Ok(before)
    }

    /// Takes access back. Returns the grant, if there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn revoke(&self, member: &str, service: &str) -> Result<Option<Grant>> {
        let key = key(member, service);
        let before = self.find(&key)?;
        self.store.commit(Txn::new().delete(key))?;
        Ok(before)
    }

    /// Removes and returns the grants that have ended.
    ///
    /// # Errors
    /// When the store cannot be written: then they are still there. Whoever compiles a plan leaves out those that have ended.
    pub fn expire(&self, now: Timestamp) -> Result<Vec<Grant>> {
        let mut ended = self.list()?;
        ended.retain(|grant| grant.until <= now);
        let mut txn = Txn::new();
        for grant in &ended {
            txn = txn.delete(key(&grant.member, &grant.service));
        }
        self.store.commit(txn)?;
        Ok(ended)
    }

    /// When the next grant ends.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_end(&self) -> Result<Option<Timestamp>> {
        Ok(self.list()?.into_iter().map(|grant| grant.until).min())
    }

    /// The grants, in the order in which they were given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Grant>> {
        let (_, mut entries) = self.store.list(PREFIX)?;
        entries.sort_by_key(|(_, entry)| entry.revision);
        entries.iter().map(|(key, entry)| records::read(key, &entry.value)).collect()
    }

    fn find(&self, key: &str) -> Result<Option<Grant>> {
        let entry = self.store.get(key).context("cannot look for an earlier grant")?;
        entry.map(|entry| records::read(key, &entry.value)).transpose()
    }
}

fn key(member: &str, service: &str) -> String {
    format!("{PREFIX}{}/{}", records::part(member), records::part(service))
}

#[cfg(test)]
mod tests {
    use fielato_store::Embedded;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant(member: &str, service: &str, until: i64) -> Grant {
        Grant {
            member: member.into(),
            service: service.into(),
            until: at(until),
            reason: Some("a printer is broken".into()),
            by: None,
        }
    }

    #[test]
    fn kept_in_the_store_and_ended_by_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let open = || Grants::new(Arc::new(Embedded::open(&path).unwrap()));
        let grants = open();
        let printing = grant("anna", "printer", 100);
        assert_eq!(grants.add(&printing).unwrap(), None);
        // A name that would be another's key if it were not escaped.
        let odd = grant("anna/printer", "x", 300);
        assert_eq!(grants.add(&odd).unwrap(), None);
        let longer = grant("anna", "printer", 200);
        assert_eq!(grants.add(&longer).unwrap(), Some(printing));

        drop(grants);
        let grants = open();
        assert_eq!(grants.next_end().unwrap(), Some(at(200)));
        assert_eq!(grants.expire(at(199)).unwrap(), []);
        assert_eq!(
            grants.list().unwrap(),
            [odd.clone(), longer.clone()],
            "in the order in which they were given"
        );
        assert_eq!(grants.expire(at(200)).unwrap(), [longer]);
        assert_eq!(grants.revoke("anna", "printer").unwrap(), None);
        assert_eq!(grants.revoke("anna/printer", "x").unwrap(), Some(odd));
        assert_eq!(grants.next_end().unwrap(), None);
    }
}
