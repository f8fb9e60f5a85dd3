//! What was changed on this machine, and how it was before. Written before each change, so that it is never behind.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Paths, files};

/// The record. An absent file means that nothing of ours is on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Format of this record.
    version: u32,
    /// The boot in which it was written; a reboot undoes everything by itself.
    boot: String,
    /// The hub's interface.
    pub interface: String,
    /// Kernel settings by name, with the value from before. Written back in the order of [`Undo::sysctls`].
    pub sysctls: Vec<(String, String)>,
    /// What was set up or begun on devices, in tc's words.
    pub shaped: BTreeMap<String, Vec<String>>,
    /// Devices that carry the guard, with the path of its pin.
    pub guarded: BTreeMap<String, std::path::PathBuf>,
    /// Where counters of members' packets are pinned.
    #[serde(default)]
    pub packets: Option<std::path::PathBuf>,
    /// Whether rules of ours may stand in nftables. Records of before there was an engine without them don't say.
    #[serde(default = "yes")]
    pub rules: bool,
}

const VERSION: u32 = 1;

fn yes() -> bool {
    true
}

impl Undo {
    /// A record of a machine on which nothing has been changed yet.
    ///
    /// # Errors
    /// When the boot's identity cannot be read from `/proc`.
    pub fn new(interface: &str) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            boot: boot_id()?,
            interface: interface.into(),
            sysctls: Vec::new(),
            shaped: BTreeMap::new(),
            guarded: BTreeMap::new(),
            packets: None,
            rules: false,
        })
    }

    /// The record left by an earlier process of this boot, if any.
    ///
    /// # Errors
    /// When the record is there and cannot be understood: then nobody knows how the machine was.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.undo();
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(None);
        };
        let undo: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; check ip_forward and the interface by hand, then remove the file",
                path.display()
            )
        })?;
        if undo.boot != boot_id()? {
            return Ok(None);
        }
        Ok(Some(undo))
    }

    /// Writes the record; on return it is on the disk.
    ///
    /// # Errors
    /// When the state folder cannot be written. The change that would follow must then not be made.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        files::ensure_dir(&paths.state())?;
        files::replace(&paths.undo(), serde_json::to_string_pretty(self)?.as_bytes(), 0o600)
    }

    /// Forgets the record: the machine is as it was.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(paths: &Paths) -> Result<()> {
        files::remove(&paths.undo())
    }

    /// The value that `name` had before, if it was recorded.
    pub fn sysctl_before(&self, name: &str) -> Option<&str> {
        self.sysctls
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

pub(crate) fn boot_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot's identity")?;
    Ok(id.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_another_boot() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        assert_eq!(Undo::load(&paths).unwrap(), None);
        let mut undo = Undo::new("wg0").unwrap();
        undo.sysctls.push(("net.ipv4.ip_forward".into(), "0".into()));
        undo.save(&paths).unwrap();
        assert_eq!(Undo::load(&paths).unwrap(), Some(undo.clone()));
        assert_eq!(undo.sysctl_before("net.ipv4.ip_forward"), Some("0"));

        undo.boot = "another".into();
        undo.save(&paths).unwrap();
        assert_eq!(Undo::load(&paths).unwrap(), None, "a reboot has undone everything");
        Undo::forget(&paths).unwrap();
    }

    #[test]
    fn a_record_of_an_earlier_version_had_rules() {
        let mut record = serde_json::to_value(Undo::new("wg0").unwrap()).unwrap();
        assert_eq!(record["rules"], false, "nothing has been changed yet");
        record.as_object_mut().unwrap().remove("rules");
        assert!(serde_json::from_value::<Undo>(record).unwrap().rules);
    }

    #[test]
    fn damage_is_said_and_not_guessed_away() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        files::ensure_dir(&paths.state()).unwrap();
        fs::write(paths.undo(), "{").unwrap();
        assert!(Undo::load(&paths).unwrap_err().to_string().contains("is damaged"));
    }
}
