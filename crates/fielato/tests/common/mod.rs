//! A hub with three neighbours in network namespaces, and other people's things on it.
//!
//! ```text
//!  out ── eth0 ┐                   out     the uplink's side, with the protected host
//!  far ── eth1 ┤ hub: fielato      far     a network that has nothing to do with the VPN
//!  mem ── eth2 ┘                   mem     the member alice, by our device in user space
//! ```

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod prober;
pub mod snapshot;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fielato_kernel::guard::{self, Guard};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::{Netns, NetnsGuard};
use fielato_kernel::{link, netns};
use fielato_testkit::unique;
use fielato_wireguard::PrivateKey;
use tempfile::TempDir;

/// The program under test.
pub const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");
/// The hub's UDP port.
pub const PORT: u16 = 51820;
/// No command of these tests takes nearly as long, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machines.
pub struct World {
    /// Name of the hub's WireGuard interface; unique on the machine, since sockets of user-space devices are not per namespace.
    pub interface: String,
    /// Name of the member's interface.
    pub member_interface: String,
    /// Somebody else's WireGuard interface on the hub, without peers.
    pub foreign_interface: String,
    pub hub: NetnsGuard,
    pub out: NetnsGuard,
    pub far: NetnsGuard,
    pub mem: NetnsGuard,
    /// What stands before /etc/fielato and so on.
    pub root: TempDir,
    hub_key: PrivateKey,
    member_key: PrivateKey,
    foreign_device: Option<Process>,
    member_device: Process,
    /// Somebody else's XDP program, on eth1.
    _foreign_program: Guard,
}

/// Other people's rules. Their forward chain comes after ours, so what it counts has passed ours.
const OTHERS: &str = "table inet others {
    counter transit4 { }
    counter transit6 { }
    counter inward4 { }
    counter inward6 { }
    counter outward4 { }
    counter outward6 { }
    set watched { type ipv4_addr; elements = { 198.51.100.7 } }
    chain input { type filter hook input priority 10; policy accept; ip saddr @watched drop; }
    chain forward {
        type filter hook forward priority 100; policy accept;
        meta nfproto ipv4 udp dport 9001 counter name transit4
        meta nfproto ipv6 udp dport 9001 counter name transit6
        meta nfproto ipv4 udp dport 9002 counter name inward4
        meta nfproto ipv6 udp dport 9002 counter name inward6
        meta nfproto ipv4 udp dport 9003 counter name outward4
        meta nfproto ipv6 udp dport 9003 counter name outward6
    }
}
";

impl World {
    /// Makes the machines; the hub's program does not run yet.
    pub fn new() -> Self {
        let space = |role: &str| NetnsGuard::create(&format!("{}-{role}", unique("faults"))).unwrap();
        let (hub, out, far, mem) = (space("hub"), space("out"), space("far"), space("mem"));
        let (interface, member_interface, foreign_interface) = (unique("fhub"), unique("fmem"), unique("foth"));
        for machine in [&hub, &out, &far, &mem] {
            shell(
                machine,
                "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
                 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
                 sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
                 ip link set lo up",
            );
        }
        for (number, neighbour) in [&out, &far, &mem].into_iter().enumerate() {
            shell(
                &hub,
                &format!(
                    "ip link add eth{number} type veth peer name eth0 netns {name}
                     ip addr add 10.77.{number}.1/24 dev eth{number}
                     ip addr add fd77:{number}::1/64 dev eth{number} nodad
                     ip link set eth{number} up",
                    name = neighbour.name()
                ),
            );
            shell(
                neighbour,
                &format!(
                    "ip addr add 10.77.{number}.2/24 dev eth0
                     ip addr add fd77:{number}::2/64 dev eth0 nodad
                     ip link set eth0 up"
                ),
            );
            if number < 2 {
                shell(
                    neighbour,
                    &format!("ip route add default via 10.77.{number}.1; ip -6 route add default via fd77:{number}::1"),
                );
            }
        }

        let foreign_device = kernel_or_own(&hub, &foreign_interface);
        shell(&hub, &format!("ip link set {foreign_interface} up"));
        let rules = tempfile::NamedTempFile::new().unwrap();
        fs::write(rules.path(), OTHERS).unwrap();
        shell(&hub, &format!("nft -f {}", rules.path().display()));
        shell(
            &hub,
            "tc qdisc add dev eth1 root handle 77: tbf rate 900mbit burst 90k latency 50ms",
        );
        let foreign_program = hub
            .run_in(|| {
                let link = link::get(&mut Netlink::open().unwrap(), "eth1").unwrap();
                Guard::attach(link.index, link.arphrd, &guard::Options { sources: 16, pin: None }).unwrap()
            })
            .unwrap();

        let member_device = Process::device(&mem, &member_interface);
        let world = Self {
            hub_key: PrivateKey::generate().unwrap(),
            member_key: PrivateKey::generate().unwrap(),
            root: tempfile::Builder::new().prefix("fielato-faults-").tempdir().unwrap(),
            interface,
            member_interface,
            foreign_interface,
            hub,
            out,
            far,
            mem,
            foreign_device,
            member_device,
            _foreign_program: foreign_program,
        };
        fs::create_dir_all(world.file("etc/fielato/keys")).unwrap();
        world.write_secret(
            &format!("etc/fielato/keys/{}.key", world.interface),
            &world.hub_key.to_base64(),
        );
        world.write_secret("member.key", &world.member_key.to_base64());
        world.configure(0);
        let interface = &world.member_interface;
        shell(
            &world.mem,
            &format!(
                "wg set {interface} private-key {key}
                 ip addr add 192.168.4.2/24 dev {interface}
                 ip addr add fd00:4::2/64 dev {interface} nodad
                 ip link set {interface} up
                 ip route add 10.77.0.0/24 dev {interface}
                 ip -6 route add fd77:0::/64 dev {interface}",
                key = world.file("member.key").display()
            ),
        );
        world
    }

    /// A path below the root.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write_secret(&self, path: &str, text: &str) {
        let path = self.file(path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes one of [`VARIANTS`] configurations.
    pub fn configure(&self, variant: usize) {
        self.write_config(&self.config(variant));
    }

    pub fn write_config(&self, text: &str) {
        fs::write(self.file("etc/fielato/fielato.toml"), text).unwrap();
    }

    /// A configuration; each differs from the others in another part.
    pub fn config(&self, variant: usize) -> String {
        // Nobody has the other half of these.
        let nobody = |letter: &str| format!("{}=", letter.repeat(42) + "E");
        let mut text = format!(
            r#"[hub]
interface = "{interface}"
endpoint = "10.77.2.1:{PORT}"
listen_port = {PORT}
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.77.0.1", "fd77:0::1"]
{mtu}
[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{alice}"

[host.server]
address = ["10.77.0.2", "fd77:0::2"]
strategy = "source"

[service.open]
host = "server"
ports = ["udp/9004"]

[[rule]]
from = "alice"
to = "open"
action = "accept"
"#,
            interface = self.interface,
            mtu = if variant == 4 { "mtu = 1300\n" } else { "" },
            alice = self.member_key.public_key(),
        );
        if variant != 1 {
            text += &format!(
                "[member.bob]\naddresses = [\"192.168.4.3\", \"fd00:4::3\"]\npublic_key = \"{}\"\n",
                nobody("B")
            );
        }
        match variant {
            1 => {
                text += &format!(
                    "[member.carol]\naddresses = [\"192.168.4.4\"]\npublic_key = \"{}\"\n",
                    nobody("C")
                )
            }
            2 => {
                text += "[[shape]]\nqdisc = \"root handle 1: htb default 30\"
[[shape]]\nclass = \"parent 1: classid 1:1 htb rate 100mbit\"
[[shape]]\nclass = \"parent 1:1 classid 1:10 htb rate 60mbit\"\nfor = [\"alice\"]
[[shape]]\nclass = \"parent 1:1 classid 1:30 htb rate 20mbit\"
[[shape]]\nqdisc = \"parent 1:10 handle 10: pfifo limit 100\"
[[shape]]\ndev = \"eth0\"\nqdisc = \"root handle 8: tbf rate 200mbit burst 64kb latency 50ms\"\n";
            }
            3 => {
                text += "[[rule]]\nfrom = \"bob\"\nto = [\"hub\", \"open\"]\naction = \"reject\"
[[ban]]\naddress = \"203.0.113.0/24\"\n[[ban]]\naddress = \"2001:db8:bad::/48\"\n";
            }
            5 => {
                text = text
                    .replace(", \"fd00:4::1/64\"", "")
                    .replace(", \"fd00:4::2\"", "")
                    .replace(", \"fd00:4::3\"", "")
            }
            _ => {}
        }
        text
    }

    /// Whether members have IPv6 addresses in a configuration.
    pub fn has_v6(variant: usize) -> bool {
        variant != 5
    }

    /// The program with these arguments, on the hub.
    pub fn fielato(&self, arguments: &[&str]) -> Command {
        let mut command = self.hub.command(Command::new(FIELATO), &[]).unwrap();
        command
            .args(arguments)
            .env("FIELATO_ROOT", self.root.path())
            .env_remove("FIELATO_CONFIG");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.fielato(arguments))
    }

    /// Forgets the member's session, so that its next packet begins a new one.
    pub fn renew_session(&self) {
        let interface = &self.member_interface;
        let hub = self.hub_key.public_key();
        shell(
            &self.mem,
            &format!(
                "wg set {interface} peer {hub} remove
                 wg set {interface} peer {hub} endpoint 10.77.2.1:{PORT} allowed-ips 192.168.4.0/24,10.77.0.0/24,fd00:4::/64,fd77:0::/64"
            ),
        );
    }

    /// The daemon's process number, when one answers.
    pub fn daemon(&self) -> Option<u32> {
        let status = self.run(&["status", "--json"]);
        if status.code != Some(0) {
            return None;
        }
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
        Some(u32::try_from(status["pid"].as_u64().unwrap()).unwrap())
    }

    /// Whether others' processes still live.
    pub fn others_live(&mut self) -> bool {
        let foreign = self.foreign_device.as_mut().is_none_or(Process::lives);
        foreign && self.member_device.lives()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Also when a test failed half-way.
        if let Some(pid) = self.daemon() {
            kill(pid);
        }
        let finished = self.run(&["down"]);
        if finished.code != Some(0) {
            eprintln!("the last `down`: {finished:?}");
        }
    }
}

/// How many configurations there are.
pub const VARIANTS: usize = 6;

/// A WireGuard interface without key and peers: the kernel's, or else our device in a process of its own.
fn kernel_or_own(netns: &Netns, name: &str) -> Option<Process> {
    let made = finish(
        netns
            .command(Command::new("ip"), &[])
            .unwrap()
            .args(["link", "add", name, "type", "wireguard"]),
    );
    match made.code {
        Some(0) => None,
        _ => Some(Process::device(netns, name)),
    }
}

/// A process that ends with this.
pub struct Process(pub Child);

impl Process {
    fn device(netns: &Netns, interface: &str) -> Self {
        let mut command = netns.command(Command::new(FIELATO), &[]).unwrap();
        command.args(["device", interface]).stdin(Stdio::null());
        let process = Self(command.spawn().unwrap());
        wait_until("the device answers", Duration::from_secs(10), || {
            Path::new("/var/run/wireguard").join(format!("{interface}.sock")).exists()
                && netns
                    .run_in(|| link::find(&mut Netlink::open().unwrap(), interface))
                    .unwrap()
                    .unwrap()
                    .is_some()
        });
        process
    }

    pub fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A device takes its socket along when it is asked to end, not when it is killed.
        signal(self.0.id(), rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.lives() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Kills a process that this test started, and waits until the kernel has taken it apart.
pub fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
    wait_until("the killed process is gone", Duration::from_secs(10), || {
        // proc_pid_stat(5): the state follows the name in brackets. Its new parent may be slow to reap it.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return true;
        };
        let dead = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']));
        dead && fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
    });
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

pub fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a program left.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A program that was started, with its output in files: a daemon that inherits them keeps nobody waiting.
pub struct Started {
    pub child: Child,
    out: File,
    err: File,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .spawn()
            .unwrap();
        Self { child, out, err }
    }

    pub fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.finish()
    }

    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().ok();
                    self.child.wait().ok();
                    panic!("a command did not end within {PATIENCE:?}: {}", read(&mut self.err));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        Finished {
            code: status.code(),
            out: read(&mut self.out),
            err: read(&mut self.err),
        }
    }
}

fn read(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    Started::new(command).finish()
}

/// Runs lines of shell in a namespace, each of which must succeed. Returns what they printed.
pub fn shell(netns: &Netns, lines: &str) -> String {
    let mut command = netns.command(Command::new("sh"), &[]).unwrap();
    let finished = finish(command.args(["-e", "-c", lines]));
    assert_eq!(finished.code, Some(0), "{lines}\n{}", finished.err);
    finished.out
}

/// Whether `test` can run here; says why not.
pub fn ready(test: &str) -> bool {
    fielato_testkit::can_run(test, &["nft", "ip", "tc", "wg", "sysctl"]) && netns::list().is_ok()
}
