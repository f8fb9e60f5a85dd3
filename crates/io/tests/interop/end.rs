//! Either end of a tunnel, whoever runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fielato_io::Device;
use fielato_wireguard::{PresharedKey, PrivateKey, PublicKey};

use crate::common::programs::Program;
use crate::common::{self, Namespace, key_file, keys, raise, unique};

pub const PORT: u16 = 51820;

/// Who runs the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Ours,
    WireguardGo,
    NewestWireguardGo,
    Boringtun,
    Kernel,
}

impl Peer {
    /// Whether this peer can be had here; notes the test as skipped otherwise.
    pub fn can_run(self, test: &str) -> bool {
        let reason = match self {
            Self::Ours => return true,
            Self::WireguardGo => return fielato_testkit::need(test, "wireguard-go"),
            Self::NewestWireguardGo if fetched(NEWEST_WIREGUARD_GO).exists() => return true,
            Self::NewestWireguardGo => "needs a newer wireguard-go (tools/wireguard-peers.sh wireguard-go)",
            Self::Boringtun if fetched(BORINGTUN).exists() => return true,
            Self::Boringtun => "needs boringtun-cli (tools/wireguard-peers.sh boringtun)",
            Self::Kernel if kernel_has_wireguard() => return true,
            Self::Kernel => "the kernel has no WireGuard",
        };
        fielato_testkit::skip(test, reason);
        false
    }
}

const BORINGTUN: &str = "bin/boringtun-cli";
const NEWEST_WIREGUARD_GO: &str = "wireguard-go/usr/bin/wireguard-go";

/// What `tools/wireguard-peers.sh` has got.
fn fetched(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
        PathBuf::from,
    );
    target.join("peers").join(program)
}

fn kernel_has_wireguard() -> bool {
    let namespace = Namespace::new();
    namespace.attempt("ip link add probe type wireguard")
}

/// What runs an end now.
enum Running {
    Ours(Device),
    Program { _program: Program },
    Kernel,
}

/// One end: a namespace, an interface, a key, and what `wg setconf` tells it.
pub struct End {
    pub namespace: Namespace,
    pub interface: String,
    who: Peer,
    key: PrivateKey,
    host: u8,
    other: PublicKey,
    settings: Settings,
    running: Option<Running>,
}

/// What differs between tests.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub preshared: Option<PresharedKey>,
    /// Where the other end is; without it this end waits to be called.
    pub endpoint: Option<SocketAddr>,
    pub keepalive: u16,
}

impl End {
    /// Our device.
    pub fn device(&self) -> &Device {
        match &self.running {
            Some(Running::Ours(device)) => device,
            _ => panic!("not our device, or not running"),
        }
    }

    pub fn start(&mut self) {
        let (name, namespace) = (&self.interface, &self.namespace);
        let program = |words: &[&str]| Running::Program {
            _program: Program::device(namespace, name, words),
        };
        self.running = Some(match self.who {
            Peer::Ours => Running::Ours(namespace.within(|| Device::create_unconfigured(name, 1420)).unwrap()),
            Peer::WireguardGo => program(&["wireguard-go", "-f", name]),
            Peer::NewestWireguardGo => program(&[&fetched(NEWEST_WIREGUARD_GO).display().to_string(), "-f", name]),
            Peer::Boringtun => program(&[
                &fetched(BORINGTUN).display().to_string(),
                "-f",
                "--disable-drop-privileges",
                "--disable-connected-udp",
                name,
            ]),
            Peer::Kernel => {
                namespace.run(&format!("ip link add {name} type wireguard"));
                Running::Kernel
            }
        });
        self.configure();
        raise(namespace, name, self.host);
    }

    /// As if the power failed: the interface goes, keys of sessions are forgotten.
    pub fn stop(&mut self) {
        if matches!(self.running.take(), Some(Running::Kernel)) {
            self.namespace.run(&format!("ip link del {}", self.interface));
        }
        let there = || self.namespace.attempt(&format!("ip link show {}", self.interface));
        common::wait_for("the interface to go", || !there());
    }

    fn configure(&self) {
        let Settings {
            preshared,
            endpoint,
            keepalive,
        } = &self.settings;
        let mut text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.0.{other}/32, fd08::{other}/128\n",
            self.key.to_base64(),
            self.other,
            other = 3 - self.host,
        );
        if let Some(key) = preshared {
            text += &format!("PresharedKey = {}\n", key.to_base64());
        }
        if let Some(endpoint) = endpoint {
            text += &format!("Endpoint = {endpoint}\n");
        }
        if *keepalive > 0 {
            text += &format!("PersistentKeepalive = {keepalive}\n");
        }
        let file = key_file(&text);
        self.namespace
            .run(&format!("wg setconf {} {}", self.interface, file.path().display()));
    }

    /// Whether the addresses of the other end answer, IPv4 and IPv6.
    pub fn reaches_other(&self) -> bool {
        let other = 3 - self.host;
        common::ping(&self.namespace, &format!("10.8.0.{other}")) && common::ping(&self.namespace, &format!("fd08::{other}"))
    }

    pub fn other_host(&self) -> u8 {
        3 - self.host
    }

    /// A column of `wg show` for the only peer.
    pub fn shown(&self, what: &str) -> String {
        let text = self.namespace.run(&format!("wg show {} {what}", self.interface));
        let line = text.lines().next().unwrap_or_default();
        line.split_once('\t').unwrap_or_default().1.to_owned()
    }

    /// Whether it sends from another address of its own when the one it used is taken away. wireguard-go (2022) and boringtun
    /// hold on to it until their sockets are made again.
    pub fn follows_its_addresses(&self) -> bool {
        matches!(self.who, Peer::Ours | Peer::Kernel)
    }

    /// Seconds since 1970 of the last handshake; 0 for none.
    pub fn latest_handshake(&self) -> u64 {
        self.shown("latest-handshakes").parse().unwrap()
    }

    /// Whether what it tells of handshakes and bytes can be believed: boringtun tells how long ago a handshake was in place
    /// of when, and does not count keepalives.
    pub fn tells_the_truth(&self) -> bool {
        self.who != Peer::Boringtun
    }

    /// Bytes received and sent.
    pub fn counts(&self) -> (u64, u64) {
        let text = self.shown("transfer");
        let (received, sent) = text.split_once('\t').unwrap();
        (received.parse().unwrap(), sent.parse().unwrap())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.running = None;
    }
}

/// Where end `host` is on the cable.
pub fn outer(host: u8, v6: bool) -> SocketAddr {
    let text = if v6 {
        format!("[fd09::{host}]:{PORT}")
    } else {
        format!("10.9.0.{host}:{PORT}")
    };
    text.parse().unwrap()
}

/// Our device and `peer`, not running yet.
pub fn pair(peer: Peer, ours: Settings, theirs: Settings) -> (End, End) {
    let (a, b) = common::cable();
    let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
    let end = |namespace, who, host, key, other, settings| End {
        namespace,
        interface: unique("i"),
        who,
        key,
        host,
        other,
        settings,
        running: None,
    };
    (
        end(a, Peer::Ours, 1, a_key, b_public, ours),
        end(b, peer, 2, b_key, a_public, theirs),
    )
}

/// Both running; we know where the peer is.
pub fn running(peer: Peer, v6: bool) -> (End, End) {
    let ours = Settings {
        endpoint: Some(outer(2, v6)),
        ..Settings::default()
    };
    let (mut a, mut b) = pair(peer, ours, Settings::default());
    b.start();
    a.start();
    (a, b)
}

/// Longer where the machine is emulated.
pub const PATIENCE: Duration = Duration::from_secs(40);
