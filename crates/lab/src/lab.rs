//! A lab: made, opened again by another process, and removed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use fielato_kernel::netns::{self, Netns, NetnsError};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::process::{NamespaceId, end_all};
use crate::topology::{Node, OUTER, OUTER_PREFIX_V4, OUTER_PREFIX_V6};

/// The name of a lab for which none was given.
pub const DEFAULT_NAME: &str = "fielato";

/// Where labs have their directories.
const LABS: &str = "/run/fielato-lab";
/// Where programs look for UAPI sockets; every machine has its own directory there.
const UAPI: &str = "/run/wireguard";
/// How long the kernel may take to notice that a wire has two ends.
const LINK_PATIENCE: Duration = Duration::from_secs(5);
const STATE: &str = "state.json";
const STATE_VERSION: u32 = 1;

/// How a lab is made.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// Its name: the namespaces' names begin with it.
    pub name: String,
    /// The `fielato` that its machines run.
    pub fielato: PathBuf,
}

/// Three machines and a switch.
#[derive(Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    machines: Vec<Machine>,
}

/// What another process needs to know of a lab.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    fielato: PathBuf,
    /// Whether [`UAPI`] was made for the lab.
    made_uapi: bool,
}

impl Lab {
    /// Makes the machines and connects them; what was made is removed again when something fails.
    ///
    /// # Errors
    /// When a lab of this name is up, or the machines can't be made.
    pub fn up(options: &LabOptions, interrupt: &Interrupt) -> Result<Self> {
        check_name(&options.name)?;
        if !rustix::process::geteuid().is_root() {
            bail!("a lab needs root: it makes network namespaces");
        }
        let directory = Self::directory_of(&options.name);
        private_directory(Path::new(LABS), true)?;
        match private_directory(&directory, false) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("the lab \"{}\" is up already; `fielato lab down` removes it", options.name)
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", directory.display())),
        }
        let lab = Self::build(options, &directory, interrupt);
        if lab.is_err()
            && let Err(error) = Self::down(&options.name)
        {
            log::error!("lab {}: {error:#}", options.name);
        }
        lab
    }

    fn build(options: &LabOptions, directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let state = State {
            version: STATE_VERSION,
            fielato: options.fielato.clone(),
            made_uapi: !Path::new(UAPI).exists(),
        };
        // First, so that `down` works from here on.
        fs::write(directory.join(STATE), serde_json::to_vec_pretty(&state)?).context("cannot write the lab's state")?;
        private_directory(Path::new(UAPI), true)?;

        let switch = Netns::create(&switch_name(&options.name))?;
        let ports: Vec<Netns> = Node::ALL
            .into_iter()
            .map(|node| Netns::create(&machine_name(&options.name, node)))
            .collect::<Result<_, _>>()?;
        let mut machines = Vec::new();
        for (node, netns) in Node::ALL.into_iter().zip(ports) {
            let machine_directory = directory.join(node.name());
            for part in ["etc", "run/wireguard", "var/lib", "bpf", "log"] {
                DirBuilder::new()
                    .mode(0o700)
                    .recursive(true)
                    .create(machine_directory.join(part))?;
            }
            mount("bpf", machine_directory.join("bpf"), "bpf", MountFlags::empty(), None)
                .with_context(|| format!("cannot mount a BPF file system for {node}"))?;
            machines.push(Machine::new(node, netns, machine_directory, options.fielato.clone()));
        }
        let lab = Self {
            name: options.name.clone(),
            directory: directory.to_owned(),
            machines,
        };
        lab.connect(&switch, interrupt)?;
        Ok(lab)
    }

    /// The wires, with iproute2 and not with our own netlink, so that a mistake in the latter can't hide itself here.
    fn connect(&self, switch: &Netns, interrupt: &Interrupt) -> Result<()> {
        let hub = self.machine(Node::VpnCore);
        let mut wires =
            String::from("link add switch type bridge stp_state 0 mcast_snooping 0\nlink set switch addrgenmode none up\n");
        for node in Node::ALL {
            let namespace = machine_name(&self.name, node);
            wires += &format!("link add {node} type veth peer name {OUTER} netns {namespace}\n");
            wires += &format!("link set {node} master switch addrgenmode none up\n");
        }
        let switch_name = switch.name();
        hub.call("ip", ["-n", switch_name, "-batch", "-"])
            .input(wires)
            .succeed(interrupt)
            .context("cannot build the switch")?;
        for machine in &self.machines {
            let node = machine.node();
            // As on Debian, where nothing sets it: the kernel's default. A new namespace takes over what its maker has, and
            // strict filtering would hide what a forged source address can do.
            machine.write_sysctls(&[
                ("net/ipv4/conf/all/rp_filter", "0"),
                ("net/ipv4/conf/default/rp_filter", "0"),
                (&format!("net/ipv4/conf/{OUTER}/rp_filter"), "0"),
                ("net/ipv4/ip_forward", "0"),
                // The addresses are known to be unique, and so usable at once.
                (&format!("net/ipv6/conf/{OUTER}/accept_dad"), "0"),
            ])?;
            let setup = format!(
                "link set lo up\nlink set {OUTER} up\naddress add {}/{OUTER_PREFIX_V4} dev {OUTER}\naddress add {}/{OUTER_PREFIX_V6} dev {OUTER}\n",
                node.outer_v4(),
                node.outer_v6(),
            );
            machine
                .call("ip", ["-batch", "-"])
                .input(setup)
                .succeed(interrupt)
                .with_context(|| format!("cannot set up {node}"))?;
        }
        for machine in &self.machines {
            let ready = interrupt.wait(LINK_PATIENCE, || {
                let link = machine.call("ip", ["-br", "link", "show", OUTER]).succeed(interrupt)?;
                Ok(link.split_whitespace().any(|word| word == "UP").then_some(()))
            })?;
            ready.with_context(|| format!("{}: {OUTER} is not up after {} s", machine.node(), LINK_PATIENCE.as_secs()))?;
        }
        Ok(())
    }

    /// Sets the gateway up on the machines as the talk does, and starts it: the hub, then both members.
    ///
    /// # Errors
    /// When a command in one of the machines fails.
    pub fn start_gateway(&self, interrupt: &Interrupt) -> Result<()> {
        Gateway::configure(self, None, interrupt)?.start().map(drop)
    }

    /// A lab that is up.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        check_name(name)?;
        let directory = Self::directory_of(name);
        let state = read_state(&directory)?.ok_or_else(|| anyhow!("no lab \"{name}\" is up; `fielato lab up` makes it"))?;
        let mut machines = Vec::new();
        for node in Node::ALL {
            let netns = Netns::open(&machine_name(name, node))
                .with_context(|| format!("the lab \"{name}\" is incomplete; `fielato lab down` removes what is left"))?;
            machines.push(Machine::new(node, netns, directory.join(node.name()), state.fielato.clone()));
        }
        Ok(Self {
            name: name.to_owned(),
            directory,
            machines,
        })
    }

    /// Ends what runs in the machines and removes them, as far as they exist.
    ///
    /// # Errors
    /// When there is no lab of this name, or something could not be removed; everything else is removed all the same.
    pub fn down(name: &str) -> Result<()> {
        check_name(name)?;
        let directory = Self::directory_of(name);
        if !directory.exists() {
            bail!("no lab \"{name}\" is up");
        }
        // A lab whose making was cut short may have none.
        let state = read_state(&directory)?;
        let mut failures = Vec::new();
        let mut attempt = |result: Result<()>| failures.extend(result.err().map(|error| format!("{error:#}")));

        let namespaces = Node::ALL
            .into_iter()
            .map(|node| machine_name(name, node))
            .chain([switch_name(name)]);
        for namespace in namespaces {
            match Netns::open(&namespace) {
                Ok(open) => attempt(NamespaceId::of(&open).and_then(end_all)),
                Err(NetnsError::Missing(_)) => continue,
                Err(error) => attempt(Err(error.into())),
            }
            attempt(netns::delete(&namespace).map_err(Into::into));
        }
        for node in Node::ALL {
            let mounted = directory.join(node.name()).join("bpf");
            if is_mounted(&mounted) {
                attempt(unmount(&mounted, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {}", mounted.display())));
            }
        }
        if !Node::ALL
            .into_iter()
            .any(|node| is_mounted(&directory.join(node.name()).join("bpf")))
        {
            attempt(fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display())));
        }
        if state.is_some_and(|state| state.made_uapi) {
            // Stays when someone else has a socket there by now.
            let _ = fs::remove_dir(UAPI);
        }
        // Stays when there are other labs.
        let _ = fs::remove_dir(LABS);
        if failures.is_empty() {
            Ok(())
        } else {
            bail!("the lab \"{name}\" is not gone entirely: {}", failures.join("; "))
        }
    }

    /// Runs a command in a machine with the caller's own input and output; its exit code, or 128 and the signal that ended it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn exec(&self, node: Node, program: &OsStr, arguments: &[OsString]) -> Result<i32> {
        // Ctrl-C is for the command; we stay to tell how it ended.
        let _interrupt = Interrupt::install()?;
        let status = self.machine(node).call(program, arguments).pass_through()?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// One of the machines.
    #[must_use]
    pub fn machine(&self, node: Node) -> &Machine {
        // `up` and `open` make one for every node.
        &self.machines[Node::ALL.iter().position(|&other| other == node).unwrap_or_default()]
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its machines have their directories.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn directory_of(name: &str) -> PathBuf {
        Path::new(LABS).join(name)
    }
}

/// A lab that goes when this value goes.
#[derive(Debug)]
pub struct TemporaryLab {
    lab: Lab,
    stays: bool,
}

impl TemporaryLab {
    /// As [`Lab::up`].
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up(options: &LabOptions, interrupt: &Interrupt) -> Result<Self> {
        let lab = Lab::up(options, interrupt)?;
        Ok(Self { lab, stays: false })
    }

    /// Removes it now.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub fn down(mut self) -> Result<()> {
        self.stays = true;
        Lab::down(&self.lab.name)
    }

    /// Leaves it standing.
    pub fn keep(mut self) {
        self.stays = true;
    }
}

impl std::ops::Deref for TemporaryLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for TemporaryLab {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = Lab::down(&self.lab.name)
        {
            log::error!("{error:#}");
        }
    }
}

fn machine_name(lab: &str, node: Node) -> String {
    format!("{lab}-{node}")
}

fn switch_name(lab: &str) -> String {
    format!("{lab}-switch")
}

/// A name becomes part of file names.
fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.len() <= 64;
    if fits
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !name.starts_with('-')
    {
        Ok(())
    } else {
        bail!("\"{name}\" can't be a lab's name: use up to 64 letters, digits, - and _")
    }
}

fn private_directory(path: &Path, may_exist: bool) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if may_exist && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn read_state(directory: &Path) -> Result<Option<State>> {
    let path = directory.join(STATE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state: State = serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    if state.version != STATE_VERSION {
        bail!(
            "{}: made by another version of fielato (format {}, here {STATE_VERSION})",
            path.display(),
            state.version
        );
    }
    Ok(Some(state))
}

/// Whether something is mounted exactly there.
fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // proc(5): the fifth field is the mount point.
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|point| Path::new(point) == path)
}
