//! Who is measured: our device and other user-space implementations of WireGuard, and a device of theirs on a machine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fielato_lab::Interrupt;
use fielato_wireguard::PrivateKey;

use crate::machine::{Machine, Process};

/// The name of ours.
pub const OURS: &str = "fielato";
/// MTU of every tunnel, unless a scenario says otherwise.
pub const MTU: u32 = 1420;
/// Port of every device.
pub const PORT: u16 = 51_820;

/// A program that makes a WireGuard interface.
#[derive(Debug, Clone)]
pub struct Implementation {
    /// As in the tables.
    pub name: String,
    /// What `--version` says, first line, and Debian's version.
    pub version: String,
    /// Whose ChaCha20-Poly1305 it uses.
    pub cipher: &'static str,
    program: PathBuf,
    /// Before the interface's name.
    arguments: &'static [&'static str],
}

impl Implementation {
    /// Ours, from this file.
    pub fn ours(name: &str, program: &Path) -> Result<Self> {
        Self::new(name, program, &["device"], "ring")
    }

    /// Another one, from this file.
    pub fn peer(name: &str, program: &Path) -> Result<Self> {
        let (arguments, cipher): (&[&str], _) = match name {
            "wireguard-go" | "wireguard-go-debian" => (&["-f"], "golang.org/x/crypto"),
            // With one thread it carries more than with its default of four.
            "boringtun" => (&["-f", "--disable-drop-privileges", "-t", "1"], "ring"),
            "gotatun" => (&["-f", "--disable-drop-privileges", "-v", "error"], "aws-lc-rs"),
            other => bail!("no implementation is called {other}"),
        };
        Self::new(name, program, arguments, cipher)
    }

    fn new(name: &str, program: &Path, arguments: &'static [&'static str], cipher: &'static str) -> Result<Self> {
        let output = Command::new(program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let version = String::from_utf8_lossy(&output.stdout);
        let version = version.lines().next().unwrap_or("unknown");
        let debian = debian_version(program).map_or_else(String::new, |debian| format!(" (Debian: {debian})"));
        Ok(Self {
            name: name.to_owned(),
            version: format!("{version}{debian}"),
            cipher,
            program: program.to_owned(),
            arguments,
        })
    }

    /// Asks a running device whether it has loaded Intel's library: which cipher ours uses is known only then.
    pub fn find_cipher(&mut self, interrupt: &Interrupt) -> Result<()> {
        let machine = Machine::new("cipher")?;
        let device = Device::start(self, &machine, interrupt)?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", device.process.id()))?;
        if maps.contains("libIPSec_MB") {
            self.cipher = "intel-ipsec-mb";
        }
        Ok(())
    }

    /// How it is run, for the result.
    pub fn command(&self) -> String {
        let program = self.program.file_name().unwrap_or_default().to_string_lossy();
        format!("{program} {}", self.arguments.join(" "))
    }
}

/// The newest entry of a package's changelog: a program's own number may be older than what it was built from.
fn debian_version(program: &Path) -> Option<String> {
    let usr = program.parent()?.parent()?;
    let changelog = usr.join("share/doc").join(program.file_name()?).join("changelog.Debian.gz");
    let output = changelog
        .exists()
        .then(|| Command::new("zcat").arg(changelog).output().ok())??;
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, version) = text.lines().next()?.split_once('(')?;
    Some(version.split_once(')')?.0.to_owned())
}

/// A running interface.
pub struct Device {
    /// Its name: unlike any other, because `wg` finds sockets by it, whatever the namespace.
    pub interface: String,
    /// Its private key.
    pub key: PrivateKey,
    /// The program.
    pub process: Process,
    /// Goes last, when the program has ended.
    _socket: Socket,
}

/// The socket that `wg` talks to. Not every program takes it along.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already, as it should be.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Device {
    /// Starts an implementation on a machine and waits until it can be configured.
    pub fn start(implementation: &Implementation, machine: &Machine, interrupt: &Interrupt) -> Result<Self> {
        let interface = fielato_testkit::unique("fbt");
        let mut arguments = implementation.arguments.to_vec();
        arguments.push(&interface);
        let mut process = machine.start(&implementation.program, &arguments)?;
        let socket = Socket(PathBuf::from(format!("/var/run/wireguard/{interface}.sock")));
        let answers = interrupt.wait(Duration::from_secs(10), || {
            process.check()?;
            Ok((socket.0.exists() && wg(&["show", &interface, "listen-port"], "").is_ok()).then_some(()))
        })?;
        if answers.is_none() {
            bail!("{}: no interface within ten seconds", implementation.name);
        }
        let device = Self {
            interface,
            key: PrivateKey::generate()?,
            process,
            _socket: socket,
        };
        device.set(
            "setconf",
            &format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", device.key.to_base64()),
        )?;
        Ok(device)
    }

    /// Gives it a peer: its public key is that of `key`.
    pub fn add_peer(&self, key: &PrivateKey, endpoint: Option<&str>, allowed: &str) -> Result<()> {
        let endpoint = endpoint.map_or_else(String::new, |address| format!("Endpoint = {address}:{PORT}\n"));
        self.set(
            "addconf",
            &format!("[Peer]\nPublicKey = {}\n{endpoint}AllowedIPs = {allowed}\n", key.public_key()),
        )
    }

    /// Runs `wg setconf` or `wg addconf` with this text.
    pub fn set(&self, how: &str, text: &str) -> Result<()> {
        wg(&[how, &self.interface, "/dev/stdin"], text).map(drop)
    }

    /// Gives it an address and brings it up.
    pub fn up(&self, machine: &Machine, address: &str, mtu: u32) -> Result<()> {
        let name = &self.interface;
        machine.shell(&format!("ip addr add {address} dev {name}\nip link set {name} mtu {mtu} up"))
    }

    /// What the kernel counted at the interface.
    pub fn counters(&self) -> Result<Counters> {
        Counters::read(&std::fs::read_to_string(self.counters_file())?, &self.interface)
    }

    /// Where [`Counters::read`] finds them: the file tells of the process's own namespace.
    pub fn counters_file(&self) -> String {
        format!("/proc/{}/net/dev", self.process.id())
    }
}

/// An interface's counters, as its machine's kernel sees them: what the program wrote to it is received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub received_bytes: u64,
    /// Of packets that were written as one, one.
    pub received_packets: u64,
    pub sent_bytes: u64,
}

impl Counters {
    /// From the text of `/proc/net/dev` (proc(5)).
    pub fn read(text: &str, interface: &str) -> Result<Self> {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
            .with_context(|| format!("no counters of {interface}"))?;
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let column = |number: usize| numbers.get(number).copied().context("too few counters");
        Ok(Self {
            received_bytes: column(0)?,
            received_packets: column(1)?,
            sent_bytes: column(8)?,
        })
    }
}

fn wg(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("wg")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start wg")?;
    if let Some(mut stdin) = child.stdin.take() {
        // Its own message tells more than a broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "wg {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
