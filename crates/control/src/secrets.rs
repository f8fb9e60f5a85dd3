//! Key files: one key a file, mode 0600, read by nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use fielato_wireguard::{KeyError, PresharedKey, PrivateKey};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

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

/// All members' pre-shared keys. Kept between reloads, so that a file that did not change is not read again, nor looked at
/// when the kernel tells which did.
#[derive(Debug, Default)]
pub struct PskStore {
    keys: BTreeMap<String, (Stamp, PresharedKey)>,
    watch: Option<Watch>,
}

/// What [`PskStore::refresh`] replaced: the keys that some members had before, `None` for those who had none.
#[derive(Debug, Default)]
pub struct Replaced(BTreeMap<String, Option<(Stamp, PresharedKey)>>);

impl Replaced {
    /// Whether the member had another key before, or none.
    pub fn contains(&self, member: &str) -> bool {
        self.0.contains_key(member)
    }
}

/// Tells whether a file is the one read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: Option<SystemTime>,
    mode: u32,
}

impl PskStore {
    /// Looks at the folder again and reads what is new. Returns what leads back, for [`PskStore::restore`].
    ///
    /// # Errors
    /// When a file cannot be read, is readable by others, or holds no key. The store is then as before.
    pub fn refresh(&mut self, paths: &Paths) -> Result<Replaced> {
        // Without its watch the store looks at every file. So it does next time, should this time fail.
        let watch = self.watch.take();
        let dir = paths.member_keys();
        if !dir.try_exists()? {
            return Ok(self.replace_all(BTreeMap::new()));
        }
        if let Some((watch, names)) = watch.and_then(|mut watch| watch.changed(&dir).map(|names| (watch, names))) {
            let found = names
                .into_iter()
                .map(|name| Ok((self.look(paths, &name)?, name)))
                .collect::<Result<Vec<_>>>()?;
            let mut replaced = BTreeMap::new();
            for (key, name) in found {
                let same = key.as_ref().map(|(_, key)| key) == self.get(&name);
                let before = self.put(name.clone(), key);
                if !same {
                    replaced.insert(name, before);
                }
            }
            self.watch = Some(watch);
            return Ok(Replaced(replaced));
        }
        // Watched from before the listing, so that nothing falls between.
        let watch = Watch::new(&dir)
            .inspect_err(|error| log::debug!("cannot watch {}: {error}", dir.display()))
            .ok();
        // Sorted once when all are there: that makes a tree without gaps.
        let mut keys = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            if let Some(name) = entry?.file_name().to_str().and_then(psk_name)
                && let Some(key) = self.look(paths, name)?
            {
                keys.push((name.to_owned(), key));
            }
        }
        let replaced = self.replace_all(keys.into_iter().collect());
        self.watch = watch;
        Ok(replaced)
    }

    /// Undoes [`PskStore::refresh`]; the next one looks at every file.
    pub fn restore(&mut self, replaced: Replaced) {
        for (name, key) in replaced.0 {
            self.put(name, key);
        }
        self.watch = None;
    }

    /// The key that the member had before what is in `replaced` was replaced.
    pub fn get_before<'a>(&'a self, replaced: &'a Replaced, member: &str) -> Option<&'a PresharedKey> {
        match replaced.0.get(member) {
            Some(before) => before.as_ref().map(|(_, key)| key),
            None => self.get(member),
        }
    }

    fn put(&mut self, name: String, key: Option<(Stamp, PresharedKey)>) -> Option<(Stamp, PresharedKey)> {
        match key {
            Some(key) => self.keys.insert(name, key),
            None => self.keys.remove(&name),
        }
    }

    fn replace_all(&mut self, keys: BTreeMap<String, (Stamp, PresharedKey)>) -> Replaced {
        let before = std::mem::replace(&mut self.keys, keys);
        let new = self.keys.keys().filter(|name| !before.contains_key(*name));
        let mut replaced: BTreeMap<_, _> = new.map(|name| (name.clone(), None)).collect();
        let is_other = |(name, (_, key)): &(String, (Stamp, PresharedKey))| self.get(name) != Some(key);
        replaced.extend(before.into_iter().filter(is_other).map(|(name, key)| (name, Some(key))));
        Replaced(replaced)
    }

    /// The member's key as its file has it now; `None` when there is no file.
    fn look(&self, paths: &Paths, name: &str) -> Result<Option<(Stamp, PresharedKey)>> {
        let path = paths.member_psk(name);
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.with_context(|| format!("cannot look at {}", path.display()))?,
        };
        let stamp = Stamp {
            inode: metadata.ino(),
            modified: metadata.modified().ok(),
            mode: metadata.mode(),
        };
        let key = match self.keys.get(name) {
            Some((known, key)) if *known == stamp => key.clone(),
            _ => read(&path)?,
        };
        Ok(Some((stamp, key)))
    }

    /// The pre-shared key of a member.
    pub fn get(&self, member: &str) -> Option<&PresharedKey> {
        self.keys.get(member).map(|(_, key)| key)
    }
}

/// The member whose key a file of this name holds.
fn psk_name(file: &str) -> Option<&str> {
    file.strip_suffix(".psk")
}

/// The kernel notes which files of a folder change (`man 7 inotify`).
#[derive(Debug)]
struct Watch {
    events: OwnedFd,
    /// Device and inode of the folder: another may take its place.
    folder: (u64, u64),
}

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let files = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::DELETE | WatchFlags::MOVE;
        let folder = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, dir, files | folder)?;
        Ok(Self {
            events,
            folder: identity(dir)?,
        })
    }

    /// The members whose key files may have changed since the last call. `None` when that is not known: look at all.
    fn changed(&mut self, dir: &Path) -> Option<BTreeSet<String>> {
        let lost =
            ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if identity(dir).ok()? != self.folder {
            return None;
        }
        let mut names = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Some(names),
                Err(Errno::INTR) => continue,
                Err(_) => return None,
            };
            if event.events().intersects(lost) {
                return None;
            }
            let file = event.file_name().and_then(|file| file.to_str().ok());
            names.extend(file.and_then(psk_name).map(str::to_owned));
        }
    }
}

fn identity(dir: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(dir)?;
    Ok((metadata.dev(), metadata.ino()))
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
        // Taken back, it is seen again.
        let replaced = store.refresh(&paths).unwrap();
        assert_eq!(store.get_before(&replaced, "a"), Some(&one));
        assert!(replaced.contains("a") && !replaced.contains("b"));
        store.restore(replaced);
        assert_eq!(store.get("a"), Some(&one));
        let replaced = store.refresh(&paths).unwrap();
        assert!(replaced.contains("a"));
        assert!(!store.refresh(&paths).unwrap().contains("a"));
        assert_eq!(store.get("a"), Some(&two));
        // In place, and with another mode.
        fs::write(paths.member_psk("a"), one.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), Some(&one));
        fs::set_permissions(paths.member_psk("a"), fs::Permissions::from_mode(0o644)).unwrap();
        store.refresh(&paths).unwrap_err();
        store.refresh(&paths).unwrap_err();
        assert_eq!(store.get("a"), Some(&one), "as before");
        fs::set_permissions(paths.member_psk("a"), fs::Permissions::from_mode(0o600)).unwrap();
        create(&paths.member_psk("b"), &two.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!((store.get("a"), store.get("b")), (Some(&one), Some(&two)));
        files::remove(&paths.member_psk("a")).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!((store.get("a"), store.get("b")), (None, Some(&two)));
        // Another folder in the place of the one that is watched.
        let dir = paths.member_keys();
        fs::rename(&dir, dir.with_extension("old")).unwrap();
        create(&paths.member_psk("a"), &two.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!((store.get("a"), store.get("b")), (Some(&two), None));
        fs::write(paths.member_psk("a"), one.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), Some(&one));
        fs::remove_dir_all(&dir).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!(store.get("a"), None);
    }

    #[test]
    fn more_changes_than_the_kernel_keeps_are_all_seen() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let mut store = PskStore::default();
        let (one, two) = (PresharedKey::generate().unwrap(), PresharedKey::generate().unwrap());
        create(&paths.member_psk("a"), &one.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        // The kernel joins equal neighbours, so two files take turns.
        for _ in 0..queue.trim().parse::<usize>().unwrap() / 2 + 1 {
            fs::set_permissions(paths.member_psk("a"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::set_permissions(paths.member_keys(), fs::Permissions::from_mode(0o700)).unwrap();
        }
        create(&paths.member_psk("b"), &two.to_base64()).unwrap();
        store.refresh(&paths).unwrap();
        assert_eq!((store.get("a"), store.get("b")), (Some(&one), Some(&two)));
    }
}
