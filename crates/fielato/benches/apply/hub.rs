//! A hub with many members in a network namespace, and one member in another.

use std::error::Error;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fielato_control::protocol::{Changes, Request, Response};
use fielato_control::{Paths, client};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::{address, link};
use fielato_wireguard::{PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;
use tempfile::TempDir;

use crate::Result;

const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");
const PORT: u16 = 51_820;

/// The hub's namespace and files. Dropped, nothing of it is left.
pub struct Bench {
    pub hub: NetnsGuard,
    member: NetnsGuard,
    root: TempDir,
    pub paths: Paths,
    interface: String,
    live: PrivateKey,
    live_psk: PresharedKey,
}

impl Bench {
    /// Files for `members`, of whom the first is the one that will be live; both namespaces, joined.
    pub fn new(members: usize) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let paths = Paths::new(root.path(), None);
        // `wg` looks for its sockets by interface, whatever the namespace.
        let interface = fielato_testkit::unique("fb");
        let live = PrivateKey::generate()?;
        let live_psk = PresharedKey::generate()?;
        fs::create_dir_all(paths.member_keys())?;
        write_secret(&paths.hub_key(&interface), &PrivateKey::generate()?.to_base64())?;
        write_secret(&paths.member_psk("m2"), &live_psk.to_base64())?;
        for number in 3..members + 2 {
            write_secret(
                &paths.member_psk(&format!("m{number}")),
                &PresharedKey::generate()?.to_base64(),
            )?;
        }
        fs::write(paths.config(), configuration(&interface, members, live.public_key()))?;

        let hub = NetnsGuard::create(&fielato_testkit::unique("fielato-bench-hub"))?;
        let member = NetnsGuard::create(&fielato_testkit::unique("fielato-bench-member"))?;
        inside(&hub, || {
            let mut netlink = Netlink::open()?;
            link::create_veth(&mut netlink, "eth0", "eth0", Some(member.as_fd()))?;
            configure(&mut netlink, "10.77.0.1/24")
        })?;
        inside(&member, || configure(&mut Netlink::open()?, "10.77.0.2/24"))?;
        Ok(Self {
            hub,
            member,
            root,
            paths,
            interface,
            live,
            live_psk,
        })
    }

    /// Runs `fielato` on the hub.
    pub fn fielato(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(FIELATO);
        command
            .args(arguments)
            .env("FIELATO_ROOT", self.root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = self.hub.command(command, &[])?.spawn()?;
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        Err(format!("fielato {}: {status}: {said}", arguments.join(" ")).into())
    }

    /// Asks the daemon for a reload, as `fielato reload` does, and waits for its answer.
    pub fn reload(&self) -> Result<Changes> {
        match client::request(&self.paths, &Request::Reload)? {
            Response::Reloaded(changes) => Ok(changes),
            other => Err(format!("not an answer to a reload: {other:?}").into()),
        }
    }

    fn pid(&self) -> Result<String> {
        Ok(fs::read_to_string(self.paths.lock())?.trim().to_owned())
    }

    /// How many milliseconds the daemon's main thread has run: what others do on the machine counts less here.
    pub fn worked(&self) -> Result<f64> {
        // Nanoseconds on a processor, waiting for one, and how often (kernel: Documentation/scheduler/sched-stats.rst).
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid()?))?;
        let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
        Ok(nanoseconds / 1e6)
    }

    /// What the daemon has in memory.
    pub fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let field = |name: &str| -> Result<f64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .ok_or("no such field")?;
            let kilobytes: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kilobytes * 1024.0 / 1e6)
        };
        Ok(Memory {
            resident: field("VmRSS")?,
            peak: field("VmHWM")?,
        })
    }

    /// When the live member's last handshake was, as the hub tells.
    pub fn handshake(&self) -> Result<String> {
        let output = Command::new("wg")
            .args(["show", &self.interface, "latest-handshakes"])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let key = self.live.public_key().to_string();
        let line = text
            .lines()
            .find(|line| line.starts_with(&key))
            .ok_or("the live member is no peer")?;
        match line.split_whitespace().last() {
            Some("0") | None => Err("the live member has had no handshake".into()),
            Some(time) => Ok(time.to_owned()),
        }
    }

    /// Starts the member's device, and waits until it reaches the hub.
    pub fn connect_member(&self) -> Result<Live<'_>> {
        let interface = format!("{}c", &self.interface[..14.min(self.interface.len())]);
        let mut command = Command::new(FIELATO);
        command
            .args(["device", &interface])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let live = Live {
            bench: self,
            device: Ended(self.member.command(command, &[])?.spawn()?),
        };
        let socket = format!("/var/run/wireguard/{interface}.sock");
        until("the member's device", || Path::new(&socket).exists())?;
        let hub_key: PrivateKey = fs::read_to_string(self.paths.hub_key(&self.interface))?.parse()?;
        let file = self.root.path().join("member.conf");
        write_secret(
            &file,
            &format!(
                "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = 10.77.0.1:{PORT}\nAllowedIPs = 10.8.0.1/32\n",
                self.live.to_base64(),
                hub_key.public_key(),
                self.live_psk.to_base64()
            ),
        )?;
        let set = Command::new("wg").arg("setconf").arg(&interface).arg(&file).status()?;
        if !set.success() {
            return Err("`wg setconf` failed for the member".into());
        }
        inside(&self.member, || {
            let mut netlink = Netlink::open()?;
            let link = link::get(&mut netlink, &interface)?;
            address::add(&mut netlink, link.index, IpNet::new(member_v4(2).into(), 16)?)?;
            Ok(link::set_up(&mut netlink, &link, true)?)
        })?;
        until("the member's first ping", || {
            let ping = self.in_member("ping", &["-c", "1", "-W", "1", "10.8.0.1"]);
            ping.is_ok_and(|mut child| child.0.wait().is_ok_and(|status| status.success()))
        })?;
        Ok(live)
    }

    fn in_member(&self, program: &str, arguments: &[&str]) -> Result<Ended> {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Ended(self.member.command(command, &[])?.spawn()?))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // After a failure the daemon still runs; after `down` there is nothing to do.
        if client::request(&self.paths, &Request::Status).is_ok()
            && let Err(error) = self.fielato(&["down"])
        {
            eprintln!("cannot take the hub down: {error}");
        }
    }
}

pub struct Memory {
    /// MB, as the next.
    pub resident: f64,
    pub peak: f64,
}

/// The member's side of a tunnel.
pub struct Live<'a> {
    bench: &'a Bench,
    /// Ends with this.
    #[allow(dead_code)]
    device: Ended,
}

impl Live<'_> {
    /// Pings the hub fifty times a second until stopped, ten minutes at most.
    pub fn ping(&self) -> Result<Pings> {
        let ping = self.bench.in_member("ping", &["-q", "-i", "0.02", "-w", "600", "10.8.0.1"])?;
        Ok(Pings(ping))
    }
}

pub struct Pings(Ended);

impl Pings {
    /// How many had no answer.
    pub fn stop(mut self) -> Result<f64> {
        // An interrupt makes it tell: `250 packets transmitted, 250 received, 0% packet loss, time 4998ms`.
        let pid = rustix::process::Pid::from_child(&self.0.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let mut text = String::new();
        self.0.0.stdout.take().map(|mut stdout| stdout.read_to_string(&mut text));
        let numbers = |line: &str| -> Option<(f64, f64)> {
            let (sent, rest) = line.split_once(" packets transmitted, ")?;
            Some((sent.parse().ok()?, rest.split_once(" received")?.0.parse().ok()?))
        };
        let (sent, received) = text.lines().find_map(numbers).ok_or_else(|| format!("ping said {text:?}"))?;
        // The last one may still be on its way.
        Ok((sent - received - 1.0).max(0.0))
    }
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        if Instant::now() > deadline {
            return Err(format!("{what} did not come within ten seconds").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// An error that a thread can hand over.
type Threaded<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs `work` in a namespace.
pub fn inside<T: Send>(namespace: &NetnsGuard, work: impl FnOnce() -> Threaded<T> + Send) -> Result<T> {
    namespace.run_in(work)?.map_err(|error| error as Box<dyn Error>)
}

fn configure(netlink: &mut Netlink, own: &str) -> Threaded<()> {
    for name in ["lo", "eth0"] {
        let link = link::get(netlink, name)?;
        if name == "eth0" {
            address::add(netlink, link.index, own.parse()?)?;
        }
        link::set_up(netlink, &link, true)?;
    }
    Ok(())
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    std::io::Write::write_all(&mut &file, text.as_bytes())?;
    Ok(())
}

/// Members `m2`, `m3`, … with both families, each in one of ten groups.
pub fn configuration(interface: &str, members: usize, first: PublicKey) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "[hub]\ninterface = \"{interface}\"\nendpoint = \"10.77.0.1:{PORT}\"\nlisten_port = {PORT}\naddresses = [\"10.8.0.1/16\", \"fd00:8::1/64\"]\nuplink = \"eth0\"\n"
    );
    for number in 2..members + 2 {
        let key = if number == 2 { first } else { public_key(number) };
        let _ = write!(
            text,
            "\n[member.m{number}]\naddresses = [\"{}\", \"{}\"]\npublic_key = \"{key}\"\ngroups = [\"g{}\"]\n",
            member_v4(number),
            member_v6(number),
            number % 10
        );
    }
    text + r#"
[[rule]]
from = ["g1", "g2"]
to = "internet"
action = "accept"

[[rule]]
from = "g3"
to = "members"
action = "drop"

[[rule]]
from = "members"
to = ["members", "hub"]
action = "accept"
"#
}

/// No two are equal, and nobody has the private half.
fn public_key(number: usize) -> PublicKey {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    PublicKey(key)
}

fn member_v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 8, 0, 0).to_bits() + number as u32)
}

fn member_v6(number: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, 0).to_bits() + number as u128)
}
