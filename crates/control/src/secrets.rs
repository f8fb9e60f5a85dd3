//! Key files: one key a file, mode 0600, read by nobody else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use fielato_wireguard::{KeyError, PresharedKey, PrivateKey};

use crate::{Paths, files};

/// Writes a new key file; an existing one is never overwritten.
///
/// # Errors
/// When the file exists or cannot be written. The key is not in the message.
pub fn create(path: &Path, base64: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        files::ensure_dir(dir)?;
    }
    files::create_new(path, format!("{base64}\n").as_bytes(), 0o600)
}

/// Reads a key file.
///
/// # Errors
/// When the file is missing, is readable by others, or holds no key. The contents are not in the message.
pub fn read<K: FromStr<Err = KeyError>>(path: &Path) -> Result<K> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "key file {}: mode {mode:04o} lets others read it; run `chmod 600 {0}`",
            path.display()
        );
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    text.parse().with_context(|| format!("key file {}", path.display()))
}

/// The hub's private key.
///
/// # Errors
/// As [`read`], with the way to make one.
pub fn hub_key(paths: &Paths, interface: &str) -> Result<PrivateKey> {
    let path = paths.hub_key(interface);
    read(&path).with_context(|| {
        format!(
            "the hub has no usable private key; `fielato init` makes one, or put yours into {}",
            path.display()
        )
    })
}

/// A member's private key, when it was generated here.
///
/// # Errors
/// When the file is there but not usable.
pub fn member_key(paths: &Paths, name: &str) -> Result<Option<PrivateKey>> {
    read_optional(&paths.member_key(name))
}

/// A member's pre-shared key, if it has one.
///
/// # Errors
/// When the file is there but not usable.
pub fn member_psk(paths: &Paths, name: &str) -> Result<Option<PresharedKey>> {
    read_optional(&paths.member_psk(name))
}

fn read_optional<K: FromStr<Err = KeyError>>(path: &Path) -> Result<Option<K>> {
    match path
        .try_exists()
        .with_context(|| format!("cannot look at {}", path.display()))?
    {
        true => read(path).map(Some),
        false => Ok(None),
    }
}

/// All members' pre-shared keys. Kept between reloads, so that a file that did not change is not read again.
#[derive(Debug, Default)]
pub struct PskStore {
    keys: BTreeMap<String, (Stamp, PresharedKey)>,
}

/// Tells whether a file is the one read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: Option<SystemTime>,
    mode: u32,
}

impl PskStore {
    /// Looks at the folder again and reads what is new.
    ///
    /// # Errors
    /// When a file cannot be read, is readable by others, or holds no key. The store is then as before.
    pub fn refresh(&mut self, paths: &Paths) -> Result<()> {
        let dir = paths.member_keys();
        if !dir.try_exists()? {
            self.keys.clear();
            return Ok(());
        }
        let mut keys = BTreeMap::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let Some(name) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_suffix(".psk"))
                .map(String::from)
            else {
                continue;
            };
            let metadata = entry.metadata()?;
            let stamp = Stamp {
                inode: metadata.ino(),
                modified: metadata.modified().ok(),
                mode: metadata.mode(),
            };
            let key = match self.keys.get(&name) {
                Some((known, key)) if *known == stamp => key.clone(),
                _ => read(&entry.path())?,
            };
            keys.insert(name, (stamp, key));
        }
        self.keys = keys;
        Ok(())
    }

    /// The pre-shared key of a member.
    pub fn get(&self, member: &str) -> Option<&PresharedKey> {
        self.keys.get(member).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_by_others_is_refused_without_showing_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wg0.key");
        let key = PrivateKey::generate().unwrap();
        create(&path, &key.to_base64()).unwrap();
        assert_eq!(read::<PrivateKey>(&path).unwrap(), key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = format!("{:#}", read::<PrivateKey>(&path).unwrap_err());
        assert!(message.contains("mode 0640 lets others read it"), "{message}");
        assert!(!message.contains(&key.to_base64()));
    }

    #[test]
    fn store_sees_new_changed_and_removed_files() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let mut store = PskStore::default();
        store.refresh(&paths).unwrap();
        let (one, two) = (PresharedKey::generate().unwrap(), PresharedKey::generate().unwrap());
        create(&paths.member_psk("a"), &one.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), Some(&one));
        files::replace(&paths.member_psk("a"), two.to_base64().as_bytes(), 0o600).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), Some(&two));
        files::remove(&paths.member_psk("a")).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), None);
    }
}
