//! Edits of the configuration file: one at a time, on the file as it is now, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fielato_policy::Config;
use fielato_policy::edit::{self as policy_edit, Document, NewMember};
use fielato_wireguard::PublicKey;
use rustix::fs::{FlockOperation, flock};

use crate::source::{self, BadConfig, Texts};
use crate::{Paths, files};

/// What a file is called that was replaced by an earlier revision's.
const REPLACED: &str = "before-rollback";

/// An edit that has begun. Another one waits until this one is committed or dropped.
#[derive(Debug)]
pub struct Edit {
    /// The file as it is, with those that it includes; only the file itself is edited.
    pub texts: Texts,
    path: PathBuf,
    mode: u32,
    _folder: File,
}

impl Edit {
    /// Waits for other edits to end, then reads and checks the file.
    ///
    /// # Errors
    /// As [`source::load`].
    pub fn begin(paths: &Paths) -> Result<Self> {
        let path = paths.config();
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let dir = path.parent().context("the configuration file has no folder")?;
        let folder = File::open(dir).with_context(|| {
            format!(
                "cannot open {}; `fielato init` writes a first configuration there",
                dir.display()
            )
        })?;
        flock(&folder, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", dir.display()))?;
        let (texts, _) = source::load_texts(paths)?;
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        Ok(Self {
            texts,
            path,
            mode,
            _folder: folder,
        })
    }

    /// Replaces the file by `text`.
    ///
    /// # Errors
    /// When the file cannot be written; it is then as it was.
    pub fn commit(self, text: &str) -> Result<()> {
        files::replace(&self.path, text.as_bytes(), self.mode)
    }
}

/// Makes the configuration files what an earlier revision's were: names and texts. What stood there and is another text is kept
/// beside, as `NAME.before-rollback`. Returns the files as they were, for [`put_back`] again.
///
/// # Errors
/// When a file cannot be written.
pub fn put_back(paths: &Paths, earlier: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let mut before = Vec::new();
    for (name, text) in earlier {
        let path = path_of(paths, name)?;
        let path = fs::canonicalize(&path).unwrap_or(path);
        let old = files::read_if_exists(&path)?;
        if old.as_deref() == Some(text) {
            continue;
        }
        let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode() & 0o777);
        if let Some(old) = old {
            let mut beside = path.clone().into_os_string();
            beside.push(format!(".{REPLACED}"));
            files::replace(beside.as_ref(), old.as_bytes(), mode)?;
            before.push((name.clone(), old));
        }
        files::replace(&path, text.as_bytes(), mode)?;
    }
    Ok(before)
}

/// Lets hosts keep their keys in an earlier policy's files, which are as [`put_back`] takes them: that a host enrolled is a fact, and no
/// policy, and the key before is nobody's any more. Returns the hosts for which something changed. One that the earlier policy does not
/// know is left out; so is one that stands in an included file, and whoever applies that is told whom it locks out.
///
/// # Errors
/// The files are no policy.
pub fn keep_keys(files: &mut [(String, String)], keys: &BTreeMap<String, HostKey>) -> Result<Vec<String>> {
    let Some(((_, main), included)) = files.split_first_mut() else {
        return Ok(Vec::new());
    };
    let included: Vec<(&str, &str)> = included.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut kept = Vec::new();
    for (host, HostKey { public_key, addresses }) in keys {
        let mut named = vec![(source::MAIN, main.as_str())];
        named.extend(&included);
        let config = Config::parse_files(&named).map_err(|faults| BadConfig(faults.display_files(&named).to_string()))?;
        let before = config.members.get(host);
        if !config.hosts.contains_key(host) || before.is_some_and(|member| member.public_key == *public_key) {
            continue;
        }
        let member = NewMember {
            addresses: addresses.clone(),
            ..NewMember::new(host, *public_key)
        };
        let added = match before {
            Some(_) => Ok(main.clone()),
            None => policy_edit::add_member(document(main, &included), &member).map(|(text, _)| text),
        };
        let edited = added.and_then(|text| policy_edit::enrol_host(document(&text, &included), host, public_key));
        match edited {
            Ok(text) => {
                *main = text;
                kept.push(host.clone());
            }
            Err(error) => log::warn!("the key of host {host} can't be kept: {error}"),
        }
    }
    Ok(kept)
}

fn document<'t>(text: &'t str, included: &[(&'t str, &'t str)]) -> Document<'t> {
    Document {
        text,
        included: included.to_vec(),
    }
}

/// How a host is known that has enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Its member's key.
    pub public_key: PublicKey,
    /// Its member's addresses.
    pub addresses: Vec<IpAddr>,
}

/// Where a file of a policy stands: the configuration file in its own place, others from its folder on.
fn path_of(paths: &Paths, name: &str) -> Result<PathBuf> {
    let config = paths.config();
    if name == source::MAIN {
        return Ok(config);
    }
    let folder = config.parent().context("the configuration file has no folder")?;
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "[hub]\ninterface = \"wg0\"\nendpoint = \"192.0.2.1:51820\"\naddresses = [\"192.168.4.1/24\"]\n\
        uplink = \"eth0\"\n# Of the owner's.\n[host.storage]\naddress = \"10.0.0.5\"\nstrategy = \"source\"\nagent = true\n";

    fn member(letter: &str) -> String {
        format!(
            "[member.storage]\naddresses = [\"192.168.4.9\"]\npublic_key = \"{}\"\n",
            key(letter)
        )
    }

    fn key(letter: &str) -> PublicKey {
        format!("{}=", letter.repeat(42) + "E").parse().unwrap()
    }

    fn kept(main: &str, included: &[(&str, &str)]) -> (Vec<String>, String) {
        let host = HostKey {
            public_key: key("C"),
            addresses: vec!["192.168.4.9".parse().unwrap()],
        };
        let included = included.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let mut files: Vec<(String, String)> = [(source::MAIN.to_owned(), main.to_owned())]
            .into_iter()
            .chain(included)
            .collect();
        let hosts = keep_keys(&mut files, &BTreeMap::from([("storage".to_owned(), host)])).unwrap();
        (hosts, files.swap_remove(0).1)
    }

    #[test]
    fn a_hosts_newest_key_stays() {
        // The first key of its token, from before it sent its own.
        let (hosts, text) = kept(&(HUB.to_owned() + &member("B")), &[]);
        assert_eq!((hosts, text), (vec!["storage".to_owned()], HUB.to_owned() + &member("C")));
        // From before there was a token: the member comes back at its address.
        let (hosts, text) = kept(&HUB.replace("agent = true\n", ""), &[]);
        assert_eq!(hosts, ["storage"]);
        let config = Config::parse(&text).unwrap();
        let member_now = &config.members["storage"];
        assert_eq!(member_now.public_key, key("C"));
        assert_eq!(member_now.addresses, ["192.168.4.9".parse::<IpAddr>().unwrap()]);
        // Nothing to keep: it has that key, or the policy knows no such host, or the member is not in the file that is edited.
        for (main, included) in [
            (HUB.to_owned() + &member("C"), None),
            (HUB.split("[host").next().unwrap().to_owned(), None),
            (format!("include = [\"more.toml\"]\n{HUB}"), Some(member("B"))),
        ] {
            let included: Vec<(&str, &str)> = included.iter().map(|text| ("more.toml", text.as_str())).collect();
            assert_eq!(kept(&main, &included), (Vec::new(), main.clone()));
        }
    }
}
