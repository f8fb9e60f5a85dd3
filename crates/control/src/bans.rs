//! Bans made by `fielato ban`: kept across restarts, ended by the clock.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Paths, files};

/// The list, as it stands in the state folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bans {
    by_network: BTreeMap<IpNet, Option<Timestamp>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    bans: Vec<StoredBan>,
}

#[derive(Serialize, Deserialize)]
struct StoredBan {
    network: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl Bans {
    /// Reads the list; an absent file is an empty list.
    ///
    /// # Errors
    /// When the file is there and cannot be understood: bans are not silently lost.
    pub fn load(paths: &Paths) -> Result<Self> {
        let path = paths.bans();
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(Self::default());
        };
        let stored: Stored =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged; mend it or remove it", path.display()))?;
        let by_network = stored.bans.into_iter().map(|ban| (ban.network.trunc(), ban.until)).collect();
        Ok(Self { by_network })
    }

    /// Writes the list; on return it is on the disk.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        files::ensure_dir(&paths.state())?;
        let bans = self
            .by_network
            .iter()
            .map(|(&network, &until)| StoredBan { network, until })
            .collect();
        files::replace(
            &paths.bans(),
            serde_json::to_string(&Stored { version: 1, bans })?.as_bytes(),
            0o600,
        )
    }

    /// Adds a ban, or gives an existing one a new end.
    pub fn insert(&mut self, network: IpNet, until: Option<Timestamp>) {
        self.by_network.insert(network.trunc(), until);
    }

    /// Removes a ban; tells whether there was one.
    pub fn remove(&mut self, network: IpNet) -> bool {
        self.by_network.remove(&network.trunc()).is_some()
    }

    /// Removes and returns the bans that have ended.
    pub fn expire(&mut self, now: Timestamp) -> Vec<IpNet> {
        let ended: Vec<IpNet> = self
            .iter()
            .filter(|(_, until)| until.is_some_and(|until| until <= now))
            .map(|(network, _)| network)
            .collect();
        for network in &ended {
            self.by_network.remove(network);
        }
        ended
    }

    /// When the next ban ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.by_network.values().flatten().min().copied()
    }

    /// The bans, in order of address.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Option<Timestamp>)> + '_ {
        self.by_network.iter().map(|(&network, &until)| (network, until))
    }

    /// Whether exactly this network is banned.
    pub fn contains(&self, network: IpNet) -> bool {
        self.by_network.contains_key(&network.trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn kept_on_disk_and_ended_by_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let mut bans = Bans::load(&paths).unwrap();
        bans.insert("192.168.4.3/24".parse().unwrap(), Some(at(100)));
        bans.insert("fd00::/64".parse().unwrap(), None);
        bans.save(&paths).unwrap();

        let mut again = Bans::load(&paths).unwrap();
        assert_eq!(again, bans);
        assert!(again.contains("192.168.4.0/24".parse().unwrap()), "host bits are cleared");
        assert_eq!(again.next_end(), Some(at(100)));
        assert_eq!(again.expire(at(99)), []);
        assert_eq!(again.expire(at(100)), ["192.168.4.0/24".parse().unwrap()]);
        assert_eq!(again.next_end(), None);
        assert!(again.remove("fd00::/64".parse().unwrap()));
        assert!(!again.remove("fd00::/64".parse().unwrap()));
    }

    #[test]
    fn damage_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        files::ensure_dir(&paths.state()).unwrap();
        std::fs::write(paths.bans(), "[]").unwrap();
        assert!(Bans::load(&paths).unwrap_err().to_string().contains("is damaged"));
    }
}
