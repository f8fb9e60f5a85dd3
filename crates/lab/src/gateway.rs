//! The gateway on the lab's machines, set up the way a person would: by commands.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::interrupt::Interrupt;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::topology::{HUB_PORT, Node, OUTER, OUTER_PREFIX_V4, OUTER_PREFIX_V6, SERVICE_PORT, TUNNEL};

/// How long a WireGuard device may take to appear, to find its peer, or to go.
const PATIENCE: Duration = Duration::from_secs(15);
/// A member's wg-quick file, below its machine's directory; its name is the interface's.
const MEMBER_FILE: &str = "etc/wireguard/wg0.conf";

/// How client-b tells the VPN's packets from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    Source,
    Member,
}

/// Who brought client-a's tunnel up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// `wg-quick up`, which found no kernel WireGuard and started wireguard-go by itself.
    WgQuick,
    /// wireguard-go and the commands that `wg-quick up` issues: where the kernel has WireGuard, wg-quick would use that.
    ByHand,
}

/// Who judges and moves packets on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// nftables, tc and XDP.
    Kernel,
    /// One process.
    Userspace,
}

impl Engine {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Kernel, Self::Userspace];

    /// As `fielato up --engine` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        }
    }
}

/// The gateway on a lab's machines.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    lab: &'a Lab,
    interrupt: &'a Interrupt,
    /// The hub chooses unless it is told.
    engine: Option<Engine>,
    /// The hub's configuration as `init` and `member add` wrote it.
    base: String,
}

impl<'a> Gateway<'a> {
    /// Keys, configuration and members on the hub; nothing runs yet.
    pub(crate) fn configure(lab: &'a Lab, engine: Option<Engine>, interrupt: &'a Interrupt) -> Result<Self> {
        let hub = lab.machine(Node::VpnCore);
        let endpoint = format!("{}:{HUB_PORT}", Node::VpnCore.outer_v4());
        let overlay_v4 = format!("{}/{OUTER_PREFIX_V4}", Node::VpnCore.overlay_v4());
        let overlay_v6 = format!("{}/{OUTER_PREFIX_V6}", Node::VpnCore.overlay_v6());
        let init = [
            "init",
            "--endpoint",
            &endpoint,
            "--uplink",
            OUTER,
            "--overlay",
            &overlay_v4,
            "--overlay",
            &overlay_v6,
        ];
        hub.fielato(init).succeed(interrupt)?;
        for member in [Node::ClientA, Node::ClientB] {
            hub.fielato(["member", "add", member.name(), "--group", "lab"])
                .succeed(interrupt)?;
        }
        let path = config_path(hub);
        let base = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let gateway = Self {
            lab,
            interrupt,
            engine,
            base,
        };
        gateway.write_config(Strategy::Source, "")?;
        Ok(gateway)
    }

    /// The machines' configuration of a lab in which it was made before.
    pub(crate) fn write_config(&self, strategy: Strategy, shapes: &str) -> Result<()> {
        self.write_text(&format!("{}\n{shapes}", self.text(strategy)))
    }

    /// The hub's configuration, without shaping.
    pub(crate) fn text(&self, strategy: Strategy) -> String {
        format!("{}\n{}", self.base, policy(strategy))
    }

    /// Writes the hub's configuration.
    pub(crate) fn write_text(&self, text: &str) -> Result<()> {
        let path = config_path(self.lab.machine(Node::VpnCore));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The hub first, then the members.
    pub(crate) fn start(&self) -> Result<Starter> {
        self.start_hub()?;
        let starter = self.start_client_a()?;
        self.start_client_b()?;
        self.wait_for_members()?;
        Ok(starter)
    }

    /// `fielato up`
    pub(crate) fn start_hub(&self) -> Result<()> {
        self.up(&[])
    }

    /// `fielato up --applied`, as a service manager says it.
    pub(crate) fn start_hub_again(&self) -> Result<()> {
        self.up(&["--applied"])
    }

    fn up(&self, more: &[&str]) -> Result<()> {
        let mut up = vec!["up"];
        up.extend(more);
        up.extend(self.engine.iter().flat_map(|engine| ["--engine", engine.name()]));
        self.lab.machine(Node::VpnCore).fielato(up).succeed(self.interrupt).map(drop)
    }

    /// Until both members have reached the hub, which learns where a member is when it hears from it.
    pub(crate) fn wait_for_members(&self) -> Result<()> {
        [Node::ClientA, Node::ClientB]
            .into_iter()
            .try_for_each(|member| self.wait_for(member))
    }

    /// Until a member has reached the hub. wireguard-go drops what is sent before it has noticed that its interface is up, so one
    /// ping is not enough.
    pub(crate) fn wait_for(&self, member: Node) -> Result<()> {
        let hub = Node::VpnCore.overlay_v4().to_string();
        let ping = ["-q", "-c", "1", "-W", "1", &hub];
        let machine = self.lab.machine(member);
        let reached = self.interrupt.wait(PATIENCE, || {
            let output = machine.call("ping", ping).run(self.interrupt)?;
            Ok(output.status.success().then_some(()))
        })?;
        reached.with_context(|| {
            format!(
                "{member} did not reach the hub through the tunnel in {} s",
                PATIENCE.as_secs()
            )
        })
    }

    /// `fielato reload`
    pub(crate) fn reload(&self) -> Result<()> {
        self.lab
            .machine(Node::VpnCore)
            .fielato(["reload"])
            .succeed(self.interrupt)
            .map(drop)
    }

    /// Debian's wireguard-go with the file that `member config` printed, unmodified.
    pub(crate) fn start_client_a(&self) -> Result<Starter> {
        let machine = self.lab.machine(Node::ClientA);
        let file = self.member_file(Node::ClientA)?;
        let file = file.to_str().context("the lab's directory has a name that is not UTF-8")?;
        if kernel_has_wireguard(machine, self.interrupt)? {
            machine.call("wireguard-go", [TUNNEL]).succeed(self.interrupt)?;
            self.configure_device(machine, file)?;
            return Ok(Starter::ByHand);
        }
        machine
            .call("wg-quick", ["up", file])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go")
            .succeed(self.interrupt)
            .context("client-a: wg-quick could not bring the tunnel up")?;
        Ok(Starter::WgQuick)
    }

    /// Our own device, configured by `wg` and `ip`.
    pub(crate) fn start_client_b(&self) -> Result<()> {
        let machine = self.lab.machine(Node::ClientB);
        let file = self.member_file(Node::ClientB)?;
        let file = file.to_str().context("the lab's directory has a name that is not UTF-8")?;
        let log = machine.directory().join("log/device.log");
        let mut device = machine.fielato(["device", TUNNEL]).start(&log)?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let ready = self.interrupt.wait(PATIENCE, || {
            if let Some(status) = device.try_wait()? {
                bail!("client-b: fielato device {TUNNEL}: {status}\n{}", said().trim());
            }
            let shown = machine.call("wg", ["show", TUNNEL]).run(self.interrupt)?;
            Ok(shown.status.success().then_some(()))
        })?;
        if ready.is_none() {
            bail!(
                "client-b: fielato device {TUNNEL} did not appear in {} s\n{}",
                PATIENCE.as_secs(),
                said().trim()
            );
        }
        self.configure_device(machine, file)
    }

    /// Makes client-a forget its session, so that its next packet begins a new one.
    pub(crate) fn renew_client_a(&self) -> Result<()> {
        let machine = self.lab.machine(Node::ClientA);
        let file = machine.directory().join(MEMBER_FILE);
        let file = file.to_str().context("the lab's directory has a name that is not UTF-8")?;
        self.set_device(machine, file)
    }

    fn set_device(&self, machine: &Machine, file: &str) -> Result<()> {
        let stripped = machine.call("wg-quick", ["strip", file]).succeed(self.interrupt)?;
        machine
            .call("wg", ["setconf", TUNNEL, "/proc/self/fd/0"])
            .input(stripped)
            .succeed(self.interrupt)
            .map(drop)
    }

    /// What `wg-quick up` does to a device that is there, for the keys that `member config` writes.
    fn configure_device(&self, machine: &Machine, file: &str) -> Result<()> {
        self.set_device(machine, file)?;
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let mut batch = String::new();
        for address in values(&text, "Address") {
            batch += &format!("address add {address} dev {TUNNEL}\n");
        }
        let mtu = values(&text, "MTU").next().unwrap_or_else(|| "1420".into());
        batch += &format!("link set {TUNNEL} mtu {mtu} up\n");
        for network in values(&text, "AllowedIPs") {
            // `replace`, since the address may have brought the overlay's route with it.
            batch += &format!("route replace {network} dev {TUNNEL}\n");
        }
        machine
            .call("ip", ["-batch", "-"])
            .input(batch)
            .succeed(self.interrupt)
            .map(drop)
    }

    /// Writes what `member config` prints to the member's machine, as it is.
    fn member_file(&self, node: Node) -> Result<PathBuf> {
        let text = self
            .lab
            .machine(Node::VpnCore)
            .fielato(["member", "config", node.name()])
            .succeed(self.interrupt)?;
        let file = self.lab.machine(node).directory().join(MEMBER_FILE);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        fs::write(&file, "")?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Takes the members' tunnels down, then the hub.
    pub(crate) fn stop(&self, starter: Starter) -> Result<()> {
        let client_a = self.lab.machine(Node::ClientA);
        let file = client_a.directory().join(MEMBER_FILE);
        match starter {
            Starter::WgQuick => client_a.call("wg-quick", [std::ffi::OsStr::new("down"), file.as_os_str()]),
            Starter::ByHand => client_a.call("ip", ["link", "delete", TUNNEL]),
        }
        .succeed(self.interrupt)?;
        self.lab
            .machine(Node::ClientB)
            .call("ip", ["link", "delete", TUNNEL])
            .succeed(self.interrupt)?;
        self.lab.machine(Node::VpnCore).fielato(["down"]).succeed(self.interrupt)?;
        // Both devices notice by themselves that their interface is gone.
        for node in [Node::ClientA, Node::ClientB] {
            let machine = self.lab.machine(node);
            let gone = self
                .interrupt
                .wait(PATIENCE, || Ok(machine.processes()?.is_empty().then_some(())))?;
            if gone.is_none() {
                bail!(
                    "{node}: still running {} s after {TUNNEL} was deleted: {:?}",
                    PATIENCE.as_secs(),
                    machine.processes()?
                );
            }
        }
        Ok(())
    }
}

fn config_path(hub: &Machine) -> PathBuf {
    hub.directory().join("etc/fielato/fielato.toml")
}

/// What the talk's hub has beside its members.
fn policy(strategy: Strategy) -> String {
    let strategy = match strategy {
        Strategy::Source => "source",
        Strategy::Member => "member",
    };
    format!(
        r#"
[host.{host}]
address = ["{v4}", "{v6}"]
strategy = "{strategy}"

[service.experiment]
host = "{host}"
ports = ["tcp/{SERVICE_PORT}", "udp/{SERVICE_PORT}"]

[[rule]]
from = "members"
to = ["hub", "members", "experiment"]
action = "accept"
"#,
        host = Node::ClientB,
        v4 = Node::ClientB.outer_v4(),
        v6 = Node::ClientB.outer_v6(),
    )
}

/// Whether `ip link add type wireguard` works here.
fn kernel_has_wireguard(machine: &Machine, interrupt: &Interrupt) -> Result<bool> {
    let probe = ["link", "add", "probe", "type", "wireguard"];
    let there = machine.call("ip", probe).run(interrupt)?.status.success();
    if there {
        machine.call("ip", ["link", "delete", "probe"]).succeed(interrupt)?;
    }
    Ok(there)
}

/// The values of a key of a wg-quick file, which may be lists.
fn values(text: &str, key: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter_map(|line| line.split('#').next().unwrap_or_default().split_once('='))
        .filter(move |(name, _)| name.trim().eq_ignore_ascii_case(key))
        .flat_map(|(_, values)| values.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_wg_quick_file() {
        let text =
            "[Interface]\nAddress = 192.168.4.2/24, fd00:4::2/64 # both\n\n[Peer]\nallowedips=10.0.0.0/8\nAllowedIPs = ::/0\n";
        assert_eq!(
            values(text, "Address").collect::<Vec<_>>(),
            ["192.168.4.2/24", "fd00:4::2/64"]
        );
        assert_eq!(values(text, "AllowedIPs").collect::<Vec<_>>(), ["10.0.0.0/8", "::/0"]);
        assert_eq!(values(text, "MTU").count(), 0);
    }

    #[test]
    fn the_policy_is_a_valid_configuration() {
        let hub = "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.123.2:51820\"\naddresses = [\"192.168.4.1/24\", \"fd00:4::1/64\"]\nuplink = \"eth0\"\nsource = [\"10.0.123.2\", \"fd00:123::2\"]\n";
        let member = "[member.client-b]\naddresses = [\"192.168.4.3\", \"fd00:4::3\"]\npublic_key = \"sNLDgD4Le8gG5Skl7YnVYxbmnRuGkw8TU4Ah0IL8z0w=\"\n";
        for strategy in [Strategy::Source, Strategy::Member] {
            let text = format!("{hub}{member}{}", policy(strategy));
            if let Err(faults) = fielato_policy::Config::parse(&text) {
                panic!("{}", faults.display("fielato.toml", &text));
            }
        }
    }
}
