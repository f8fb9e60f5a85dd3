//! Where Fielato's files stand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// All paths, below a root that is `/` but in labs and tests, or in a user's own folders.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
    config: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
}

/// A user's own folders cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this user has no folders: HOME is not set; set it, or name a folder with --root DIR")]
pub struct NoHome;

impl Paths {
    /// Paths below `root`; `config` replaces the configuration file's own place.
    pub fn new(root: impl Into<PathBuf>, config: Option<PathBuf>) -> Self {
        let root = root.into();
        Self {
            config: config.unwrap_or_else(|| root.join("etc/fielato/fielato.toml")),
            state: root.join("var/lib/fielato"),
            runtime: root.join("run/fielato"),
            root,
        }
    }

    /// The same with another configuration file.
    #[must_use]
    pub fn with_config(&self, config: impl Into<PathBuf>) -> Self {
        Self {
            config: config.into(),
            ..self.clone()
        }
    }

    /// Paths in the folders of an ordinary user, as the XDG Base Directory Specification names them; `variable` reads the
    /// environment. Without a session there is no `XDG_RUNTIME_DIR`: then the runtime folder is one of the state's.
    ///
    /// # Errors
    /// [`NoHome`]
    pub fn of_user(config: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        // The specification: a path that is not absolute is to be ignored.
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path)).ok_or(NoHome);
        let base = |name: &str, path: &str| folder(name).map_or_else(|| below_home(path), Ok);
        let config = match config {
            Some(config) => config,
            None => base("XDG_CONFIG_HOME", ".config")?.join("fielato/fielato.toml"),
        };
        let state = base("XDG_STATE_HOME", ".local/state")?.join("fielato");
        Ok(Self {
            root: PathBuf::from("/"),
            config,
            runtime: folder("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |folder| folder.join("fielato")),
            state,
        })
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.config.clone()
    }

    /// The folder of secrets: beside the configuration file, mode 0700.
    pub fn keys(&self) -> PathBuf {
        let config = self.config();
        config.parent().unwrap_or(Path::new("/")).join("keys")
    }

    /// The hub's private key.
    pub fn hub_key(&self, interface: &str) -> PathBuf {
        self.keys().join(format!("{interface}.key"))
    }

    /// The folder of members' private and pre-shared keys.
    pub fn member_keys(&self) -> PathBuf {
        self.keys().join("members")
    }

    /// A member's private key, when it was generated here.
    pub fn member_key(&self, name: &str) -> PathBuf {
        self.member_keys().join(format!("{name}.key"))
    }

    /// A member's pre-shared key.
    pub fn member_psk(&self, name: &str) -> PathBuf {
        self.member_keys().join(format!("{name}.psk"))
    }

    /// State that outlives a reboot.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// Bans made by `fielato ban`.
    pub fn bans(&self) -> PathBuf {
        self.state().join("bans.json")
    }

    /// What was changed on this machine and how it was before.
    pub fn undo(&self) -> PathBuf {
        self.state().join("undo.json")
    }

    /// What the protected hosts were told last, and which tokens are to be used.
    pub fn fleet(&self) -> PathBuf {
        self.state().join("fleet.json")
    }

    /// Revisions, grants, what hosts acknowledged: everything that must be consistent with each other.
    pub fn store(&self) -> PathBuf {
        self.state().join("store.redb")
    }

    /// What members have sent and received, by the hour. Its own file: it is written every few seconds, and nobody is locked
    /// out when it is lost.
    pub fn usage(&self) -> PathBuf {
        self.state().join("usage.redb")
    }

    /// The folder of the last confirmed policy's text, as plain files.
    pub fn last_good(&self) -> PathBuf {
        self.state().join("policy")
    }

    /// Who did what from where.
    pub fn audit(&self) -> PathBuf {
        self.state().join("audit.jsonl")
    }

    /// Of a protected host's agent: which hub it talks to, and by which interface.
    pub fn agent(&self) -> PathBuf {
        self.state().join("agent.json")
    }

    /// Of a protected host's agent: the plan that it enforces.
    pub fn agent_plan(&self) -> PathBuf {
        self.state().join("agent-plan.json")
    }

    /// Of a protected host's agent: what it changed on the machine beside its table, and how it was before.
    pub fn agent_undo(&self) -> PathBuf {
        self.state().join("agent-undo.json")
    }

    /// The private key of an enrolled host.
    pub fn agent_key(&self) -> PathBuf {
        self.keys().join("agent.key")
    }

    /// A pre-shared key of an enrolled host.
    pub fn agent_psk(&self) -> PathBuf {
        self.keys().join("agent.psk")
    }

    /// Held by a protected host's agent while it lives.
    pub fn agent_lock(&self) -> PathBuf {
        self.runtime().join("agent.lock")
    }

    /// What a protected host's agent is doing.
    pub fn agent_status(&self) -> PathBuf {
        self.runtime().join("agent.json")
    }

    /// State that a reboot clears.
    pub fn runtime(&self) -> PathBuf {
        self.runtime.clone()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime().join("control.sock")
    }

    /// Held by the daemon while it lives.
    pub fn lock(&self) -> PathBuf {
        self.runtime().join("lock")
    }

    /// What a daemon that was not started by a service manager has to say.
    pub fn log(&self) -> PathBuf {
        self.runtime().join("fielato.log")
    }

    /// Where the guard's link on `interface` is pinned. Not below the root: only a BPF file system can hold pins. A
    /// root other than `/` gets a folder of its own, so that labs do not meet the machine's own hub.
    pub fn pin(&self, interface: &str) -> PathBuf {
        let mut name = String::from("fielato");
        for part in self
            .root
            .components()
            .filter_map(|part| part.as_os_str().to_str())
            .filter(|part| *part != "/")
        {
            name.push('-');
            name.push_str(&part.replace('.', "_"));
        }
        Path::new("/sys/fs/bpf").join(name).join(interface)
    }

    /// Where the counters of members' packets on `interface` are pinned. Such a file system takes no dots in names.
    pub fn packets_pin(&self, interface: &str) -> PathBuf {
        self.pin(&format!("{}-packets", interface.replace('.', "_")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_beside_the_configuration() {
        let paths = Paths::new("/", Some("/tmp/x/hub.toml".into()));
        assert_eq!(paths.hub_key("wg0"), Path::new("/tmp/x/keys/wg0.key"));
        assert_eq!(paths.undo(), Path::new("/var/lib/fielato/undo.json"));
    }

    #[test]
    fn a_root_moves_everything_and_keeps_pins_apart() {
        let paths = Paths::new("/run/lab/core", None);
        assert_eq!(paths.config(), Path::new("/run/lab/core/etc/fielato/fielato.toml"));
        assert_eq!(paths.socket(), Path::new("/run/lab/core/run/fielato/control.sock"));
        assert_eq!(paths.pin("wg0"), Path::new("/sys/fs/bpf/fielato-run-lab-core/wg0"));
        assert_eq!(Paths::new("/", None).pin("wg0"), Path::new("/sys/fs/bpf/fielato/wg0"));
        let packets = Paths::new("/", None).packets_pin("wg.0");
        assert_eq!(packets, Path::new("/sys/fs/bpf/fielato/wg_0-packets"));
    }

    #[test]
    fn a_users_own_folders() {
        let of = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            Paths::of_user(None, find)
        };
        let paths = of(&[
            ("HOME", "/home/ada"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("XDG_STATE_HOME", "no/path"),
        ])
        .unwrap();
        assert_eq!(paths.config(), Path::new("/home/ada/.config/fielato/fielato.toml"));
        assert_eq!(paths.hub_key("wg0"), Path::new("/home/ada/.config/fielato/keys/wg0.key"));
        assert_eq!(paths.bans(), Path::new("/home/ada/.local/state/fielato/bans.json"));
        assert_eq!(paths.socket(), Path::new("/run/user/7/fielato/control.sock"));
        let paths = of(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/etc/ada")]).unwrap();
        assert_eq!(paths.config(), Path::new("/etc/ada/fielato/fielato.toml"));
        assert_eq!(paths.socket(), Path::new("/home/ada/.local/state/fielato/run/control.sock"));
        assert_eq!(of(&[("HOME", "ada")]).unwrap_err(), NoHome);
    }
}
