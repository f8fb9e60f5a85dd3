//! The hubs that are compared, each between two members.
//!
//! ```text
//!  a ── 10.77.0.1 ═ veth ═ 10.77.0.9 ── hub ── 10.78.0.9 ═ veth ═ 10.78.0.2 ── b      tunnel: 10.88.0.1, .9, .2
//! ```

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fielato_lab::Interrupt;
use fielato_wireguard::{PrivateKey, PublicKey};
use tempfile::TempDir;

use crate::implementation::{Device, Implementation, PORT};
use crate::machine::{Machine, Process};

pub const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");
/// The member that sends.
pub const A: &str = "10.88.0.1";
/// The member that receives.
pub const B: &str = "10.88.0.2";
const MTU: u32 = 1400;
/// Rules in front of the one that lets the traffic pass.
const RULES: u32 = 1000;

/// Who forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// nftables and tc
    Kernel,
    /// Everything in one process
    Userspace,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        }
    }
}

/// A hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub kind: Kind,
    /// With guard, rules, connection tracking and fq_codel, else forwarding alone.
    pub full: bool,
}

impl Setting {
    pub const ALL: [Self; 4] = [
        Self {
            kind: Kind::Kernel,
            full: false,
        },
        Self {
            kind: Kind::Kernel,
            full: true,
        },
        Self {
            kind: Kind::Userspace,
            full: false,
        },
        Self {
            kind: Kind::Userspace,
            full: true,
        },
    ];

    pub const fn name(self) -> &'static str {
        match (self.kind, self.full) {
            (Kind::Kernel, false) => "our device, the kernel forwards",
            (Kind::Kernel, true) => "engine kernel, with everything",
            (Kind::Userspace, false) => "engine userspace, one rule",
            (Kind::Userspace, true) => "engine userspace, with everything",
        }
    }
}

/// Two members and a hub between them.
pub struct Topology {
    pub a: Machine,
    pub b: Machine,
    _members: Vec<Device>,
    middle: Middle,
    hub: Machine,
    files: Option<Files>,
}

/// Where a daemon's files are, and what stands in its configuration beside the shaping.
struct Files {
    root: TempDir,
    configuration: String,
}

impl Files {
    fn configuration_file(&self) -> PathBuf {
        self.root.path().join("etc/fielato/fielato.toml")
    }
}

enum Middle {
    Device(Device),
    Daemon(Process),
}

impl Topology {
    /// As the gateway's cost is measured.
    pub fn new(setting: Setting, ours: &Implementation, interrupt: &Interrupt) -> Result<Self> {
        Self::with(setting, setting != Setting::ALL[0], ours, interrupt)
    }

    /// A hub without guard and with one rule, whose shaping is then told by [`Topology::shape`].
    pub fn shaped(kind: Kind, ours: &Implementation, interrupt: &Interrupt) -> Result<Self> {
        Self::with(Setting { kind, full: false }, true, ours, interrupt)
    }

    /// Gives the hub these `[[shape]]` lines instead of those before.
    pub fn shape(&self, lines: &str) -> Result<()> {
        let files = self.files.as_ref().context("only a daemon has shaping")?;
        fs::write(files.configuration_file(), format!("{}{lines}", files.configuration))?;
        let root = files.root.path().display();
        self.hub.shell(&format!("{FIELATO} --root {root} reload >/dev/null"))
    }

    fn with(setting: Setting, daemonised: bool, ours: &Implementation, interrupt: &Interrupt) -> Result<Self> {
        let (a, hub, b) = (Machine::new("a")?, Machine::new("hub")?, Machine::new("b")?);
        Machine::join((&a, "v0", "10.77.0.1/24"), (&hub, "v0", "10.77.0.9/24"))?;
        Machine::join((&b, "v0", "10.78.0.2/24"), (&hub, "v1", "10.78.0.9/24"))?;
        let members = [Device::start(ours, &a, interrupt)?, Device::start(ours, &b, interrupt)?];
        let (middle, hub_key, files) = if !daemonised {
            let middle = Device::start(ours, &hub, interrupt)?;
            for (member, host) in members.iter().zip([1, 2]) {
                middle.add_peer(&member.key, None, &format!("10.88.0.{host}/32"))?;
            }
            middle.up(&hub, "10.88.0.9/24", MTU)?;
            let key = middle.key.clone();
            (Middle::Device(middle), key, None)
        } else {
            let keys = [members[0].key.public_key(), members[1].key.public_key()];
            let (daemon, key, files) = daemon(setting, &hub, keys, interrupt)?;
            (Middle::Daemon(daemon), key, Some(files))
        };
        for (member, machine, outer, inner) in [(&members[0], &a, "10.77.0.9", "10.88.0.1"), (&members[1], &b, "10.78.0.9", B)] {
            member.add_peer(&hub_key, Some(outer), "10.88.0.0/24")?;
            member.up(machine, &format!("{inner}/24"), MTU)?;
            // The hub learns where a member is when it hears from it.
            machine.shell("ping -q -n -c 1 -W 5 10.88.0.9 >/dev/null || true")?;
        }
        Ok(Self {
            a,
            b,
            _members: members.into(),
            middle,
            hub,
            files,
        })
    }

    fn process(&self) -> &Process {
        match &self.middle {
            Middle::Device(device) => &device.process,
            Middle::Daemon(process) => process,
        }
    }

    /// Nanoseconds that the hub's process used so far.
    pub fn hub_cpu(&self) -> Result<u64> {
        self.process().cpu()
    }

    /// The most memory that it had, in megabytes.
    pub fn hub_memory(&self) -> Result<f64> {
        self.process().memory("VmHWM")
    }
}

fn daemon(
    setting: Setting,
    hub: &Machine,
    members: [PublicKey; 2],
    interrupt: &Interrupt,
) -> Result<(Process, PrivateKey, Files)> {
    let root = tempfile::tempdir()?;
    let interface = fielato_testkit::unique("fbg");
    let key = PrivateKey::generate()?;
    let etc = root.path().join("etc/fielato");
    fs::create_dir_all(etc.join("keys"))?;
    let file = etc.join(format!("keys/{interface}.key"));
    fs::write(&file, key.to_base64().as_bytes())?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let files = Files {
        root,
        configuration: configuration(setting, &interface, members),
    };
    fs::write(files.configuration_file(), &files.configuration)?;
    let root_path = files.root.path().to_str().context("a temporary folder's name is text")?;
    let arguments = [
        "--root",
        root_path,
        "up",
        "--foreground",
        "--engine",
        setting.kind.name(),
        "--wireguard",
        "userspace",
    ];
    let arguments = if setting.kind == Kind::Kernel {
        &arguments[..]
    } else {
        &arguments[..6]
    };
    let mut daemon = hub.start(FIELATO, arguments)?;
    let socket = Path::new(root_path).join("run/fielato/control.sock");
    let up = interrupt.wait(Duration::from_secs(20), || {
        daemon.check()?;
        Ok(socket.exists().then_some(()))
    })?;
    up.context("the hub was not up within twenty seconds")?;
    Ok((daemon, key, files))
}

fn configuration(setting: Setting, interface: &str, members: [PublicKey; 2]) -> String {
    let mut text = format!(
        "[hub]\ninterface = \"{interface}\"\nendpoint = \"10.77.0.9:{PORT}\"\nlisten_port = {PORT}\nmtu = {MTU}\n\
         addresses = [\"10.88.0.9/24\"]\nuplink = \"v1\"\n[hub.guard]\nenabled = {}\n",
        setting.full
    );
    for (name, key, host) in [("a", members[0], 1), ("b", members[1], 2)] {
        let _ = write!(
            text,
            "[member.{name}]\naddresses = [\"10.88.0.{host}\"]\npublic_key = \"{key}\"\n"
        );
    }
    if setting.full {
        for number in 0..RULES {
            let (high, low) = (number / 250, number % 250);
            let _ = write!(
                text,
                "[[rule]]\nfrom = \"members\"\nto = \"10.200.{high}.{low}\"\naction = \"drop\"\n"
            );
        }
        text += "[[shape]]\nqdisc = \"root fq_codel\"\n";
    }
    text + "[[rule]]\nfrom = \"any\"\nto = \"any\"\naction = \"accept\"\n"
}
