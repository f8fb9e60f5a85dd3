//! What the tests share: machines, hubs that are up, and everything that was said on them.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use fielato_kernel::netns::NetnsGuard;
use fielato_testkit::unique;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");

/// Longest wait. WireGuard tries a new session 15 s after the old one fell silent (KEEPALIVE_TIMEOUT and REKEY_TIMEOUT in
/// section 6 of its paper); all else comes at once.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A key that is no secret.
pub const KEY_A: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// Another one.
pub const KEY_B: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A machine as far as the command sees it: a folder for its files, perhaps a network namespace.
pub struct Machine {
    dir: TempDir,
    namespace: Option<NetnsGuard>,
    /// Everything that commands on it have printed, but for what may hold secrets.
    said: RefCell<String>,
}

/// What a command said.
pub struct Said {
    pub command: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn new(command: String, output: Output) -> Self {
        Self {
            command,
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Its standard output, when it did what it was told.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}: {}", self.command, self.err);
        self.out
    }

    /// Its standard error, when it ended with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}: {}{}", self.command, self.out, self.err);
        self.err
    }

    /// Its standard output as JSON with a version.
    #[track_caller]
    pub fn json(self) -> Value {
        let command = self.command.clone();
        let value: Value = serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(value["version"], 1, "{command}: {value}");
        value
    }
}

impl Machine {
    /// Files only, for what needs no network and no root.
    pub fn files() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            namespace: None,
            said: RefCell::default(),
        }
    }

    /// With a namespace of its own. The caller has looked whether it may.
    pub fn with_namespace() -> Self {
        let machine = Self {
            namespace: Some(NetnsGuard::create(&unique("cli")).unwrap()),
            ..Self::files()
        };
        machine.sh("ip link set lo up").ok();
        machine
    }

    /// The name of its namespace.
    pub fn netns(&self) -> &str {
        self.namespace.as_ref().unwrap().name()
    }

    /// Does something in its namespace.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.as_ref().unwrap().run_in(work).unwrap()
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.root().join("etc/fielato/fielato.toml")
    }

    pub fn config(&self) -> String {
        fs::read_to_string(self.config_path()).unwrap()
    }

    pub fn write_config(&self, text: &str) {
        fs::create_dir_all(self.config_path().parent().unwrap()).unwrap();
        fs::write(self.config_path(), text).unwrap();
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.root().join("etc/fielato/keys").join(name)
    }

    /// Writes a secret as `fielato` would.
    pub fn write_key(&self, name: &str, text: &str) {
        let path = self.key(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A program on this machine, which finds the machine's files.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("FIELATO_ROOT", self.root())
            .env_remove("FIELATO_CONFIG")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null());
        match &self.namespace {
            Some(namespace) => namespace.command(command, &[]).unwrap(),
            None => command,
        }
    }

    /// Runs `fielato` with arguments that have no spaces in them.
    pub fn fielato(&self, arguments: &str) -> Said {
        let said = self.quietly(arguments);
        self.said.borrow_mut().push_str(&(said.out.clone() + &said.err));
        said
    }

    /// As [`Machine::fielato`], for what may show secrets.
    pub fn quietly(&self, arguments: &str) -> Said {
        let output = self.command(FIELATO).args(arguments.split_whitespace()).output().unwrap();
        Said::new(format!("fielato {arguments}"), output)
    }

    /// Runs a shell's line.
    pub fn sh(&self, line: &str) -> Said {
        Said::new(line.into(), self.command("sh").args(["-c", line]).output().unwrap())
    }

    /// Runs a program that is given `input` as a file.
    pub fn with_file(&self, line: &str, name: &str, input: &str) -> Said {
        let path = self.root().join(name);
        fs::write(&path, input).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.sh(&line.replace("FILE", path.to_str().unwrap()))
    }

    /// Starts a program that stays.
    pub fn spawn(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null());
        Running(command.spawn().unwrap())
    }

    pub fn said(&self) -> String {
        self.said.borrow().clone()
    }
}

/// A wire from `name` on one machine, 10.NET.0.1/24 and fd0NET::1/64, to `eth0` on another, the same with 2.
pub fn wire(one: &Machine, name: &str, other: &Machine, net: u8) {
    one.sh(&format!(
        "ip link add {name} type veth peer name eth0 netns {}",
        other.netns()
    ))
    .ok();
    for (machine, name, host) in [(one, name, 1), (other, "eth0", 2)] {
        let up = format!(
            "ip addr add 10.{net}.0.{host}/24 dev {name} && ip addr add fd0{net}::{host}/64 dev {name} nodad && ip link set {name} up"
        );
        machine.sh(&up).ok();
    }
}

/// A program that stays until this goes.
pub struct Running(pub Child);

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let mut code = None;
        eventually("the program ends", || {
            code = self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1));
            code.is_some()
        });
        code.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::TERM);
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end && self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}

/// Waits until `holds`, a while.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Two machines with a wire between them: a hub, not up yet, and somebody outside.
///
/// ```text
///   hub: eth0 10.9.0.1/24, fd09::1/64  ───  outside: eth0 10.9.0.2/24, fd09::2/64
/// ```
pub struct Pair {
    pub hub: Hub,
    pub outside: Machine,
}

/// A hub with `init` done, taken down at the end. Its interface has a name of its own: the sockets of `wg` are shared by all
/// namespaces.
pub struct Hub {
    pub machine: Machine,
    pub interface: String,
}

impl std::ops::Deref for Hub {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let down = self.quietly("down");
        if down.code != 0 {
            eprintln!("{}{}", down.out, down.err);
        }
    }
}

/// Whether a test may make namespaces and bring a hub up.
pub fn can_run(test: &str) -> bool {
    fielato_testkit::can_run(test, &["nft", "wg", "ip"])
}

impl Pair {
    pub fn new() -> Self {
        let (machine, outside) = (Machine::with_namespace(), Machine::with_namespace());
        machine
            .sh(&format!(
                "ip link add eth0 type veth peer name eth0 netns {}",
                outside.netns()
            ))
            .ok();
        for (at, host) in [(&machine, 1), (&outside, 2)] {
            at.sh(&format!(
                "ip addr add 10.9.0.{host}/24 dev eth0 && ip addr add fd09::{host}/64 dev eth0 nodad && ip link set eth0 up"
            ))
            .ok();
        }
        machine
            .sh("ip route add default via 10.9.0.2 && ip -6 route add default via fd09::2")
            .ok();
        let hub = Hub {
            machine,
            interface: unique("c"),
        };
        hub.fielato(&format!("init --interface {}", hub.interface)).ok();
        Self { hub, outside }
    }

    /// With the hub up, on our own device, which every kernel can serve.
    pub fn up() -> Self {
        let pair = Self::new();
        pair.hub.fielato("up --wireguard userspace").ok();
        pair
    }
}

/// A member's stock device, run outside by `fielato device` and `wg` with the file that `member config` printed.
pub struct Client<'m> {
    machine: &'m Machine,
    pub interface: String,
    _device: Running,
}

impl<'m> Client<'m> {
    pub fn start(hub: &Hub, machine: &'m Machine, member: &str) -> Self {
        Self::with_config(machine, &hub.quietly(&format!("member config {member} --split")).ok())
    }

    /// With the text of a member's file.
    pub fn with_config(machine: &'m Machine, file: &str) -> Self {
        let interface = unique("m");
        let mut command = machine.command(FIELATO);
        let log = machine.root().join(format!("{interface}.log"));
        command.args(["device", &interface]).stderr(fs::File::create(&log).unwrap());
        let mut device = machine.spawn(command);
        eventually("the device answers", || {
            let ended = device.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&log).unwrap());
            machine.sh(&format!("wg show {interface}")).code == 0
        });
        // As wg-quick does, by hand, since it would also write resolv.conf.
        machine
            .with_file(
                &format!("umask 077; wg-quick strip FILE >FILE.stripped && wg setconf {interface} FILE.stripped"),
                &format!("{interface}.conf"),
                file,
            )
            .ok();
        for address in values(file, "Address") {
            machine
                .sh(&format!(
                    "ip addr add {address} dev {interface} nodad 2>/dev/null || ip addr add {address} dev {interface}"
                ))
                .ok();
        }
        machine.sh(&format!("ip link set {interface} up")).ok();
        for network in values(file, "AllowedIPs") {
            machine.sh(&format!("ip route replace {network} dev {interface}")).ok();
        }
        Self {
            machine,
            interface,
            _device: device,
        }
    }

    pub fn ping(&self, address: &str) -> bool {
        self.machine.sh(&format!("ping -c 1 -W 2 {address}")).code == 0
    }

    pub fn latest_handshake(&self) -> String {
        self.machine.sh(&format!("wg show {} latest-handshakes", self.interface)).ok()
    }
}

/// A TCP connection from outside to a port of the hub.
pub struct Talk {
    _listener: Running,
    _sender: Running,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    pub fn begin(hub: &Machine, outside: &Machine, server: &str, port: &str) -> Self {
        let mut listen = hub.command("nc");
        listen.args(["-l", "-n", "-s", server, "-p", port]).stdout(Stdio::piped());
        let mut listener = hub.spawn(listen);
        eventually("the server listens", || {
            hub.sh(&format!("ss -Hltn src '[{server}]' sport = {port}"))
                .ok()
                .contains(port)
        });
        let mut command = outside.command("nc");
        command.args(["-n", server, port]);
        let mut sender = Running(command.stdin(Stdio::piped()).spawn().unwrap());
        let output = listener.0.stdout.take().unwrap();
        let (told, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| told.send(line))
        });
        Self {
            input: sender.0.stdin.take().unwrap(),
            _listener: listener,
            _sender: sender,
            lines,
        }
    }

    /// Whether a line arrives. What stops it stops its repetitions too, of which there are some within this time.
    pub fn carries(&mut self) -> bool {
        writeln!(self.input, "hello").is_ok() && self.lines.recv_timeout(Duration::from_secs(2)).is_ok()
    }
}

/// The hub's own addresses in the overlay.
pub fn overlay(hub: &Machine) -> Vec<String> {
    overlay_of(&hub.fielato("status --json").json())
}

/// The same, from a status.
pub fn overlay_of(status: &Value) -> Vec<String> {
    let addresses = status["addresses"].as_array().unwrap();
    addresses
        .iter()
        .map(|net| net.as_str().unwrap().split('/').next().unwrap().to_owned())
        .collect()
}

/// The items of a key in a wg-quick file.
pub fn values(file: &str, key: &str) -> Vec<String> {
    file.lines()
        .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
        .flat_map(|list| list.split(','))
        .map(|item| item.trim().to_owned())
        .collect()
}
