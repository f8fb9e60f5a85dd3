//! The text by which `wg` talks to a device in user space.
//!
//! Source: "Cross-platform Userspace Implementation", <https://www.wireguard.com/xplatform/>. A request is
//! `get=1` or `set=1`, lines `key=value`, and an empty line; the answer ends with `errno=N` and an empty line.
//! Functions here are pure: text in, values out, and back.
//!
//! Error numbers are wireguard-go's, which `wg` prints in words. Two things differ from it. A request is read as a whole before
//! anything is done, so one that is refused has changed nothing. And what is no request at all, or ends in its middle, is
//! answered with `EPROTO` before the connection is closed; wireguard-go closes it, or does the half that came.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use crate::config::{DeviceConfig, DeviceStatus, PeerConfig};
use crate::key::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};

/// `EINVAL` of Linux: a value that makes no sense.
pub const EINVAL: i32 = 22;
/// `EPROTO` of Linux: a request that does not follow the protocol.
pub const EPROTO: i32 = 71;

/// A request of `wg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Report everything, secrets included.
    Get,
    /// Change what is named.
    Set(SetDevice),
}

/// Changes to a device; `None` leaves a value as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetDevice {
    /// The new key; `Some(None)` takes the key away.
    pub private_key: Option<Option<PrivateKey>>,
    /// The new port; 0 lets the system choose.
    pub listen_port: Option<u16>,
    /// The new mark; 0 for none.
    pub fwmark: Option<u32>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// Changes to peers, in order.
    pub peers: Vec<SetPeer>,
}

/// Changes to one peer; `None` leaves a value as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPeer {
    /// Which peer; it is made when there is none.
    pub public_key: PublicKey,
    /// Remove the peer instead.
    pub remove: bool,
    /// Do nothing when there is no such peer.
    pub update_only: bool,
    /// The new key; `Some(None)` takes it away.
    pub preshared_key: Option<Option<PresharedKey>>,
    /// Where to send until the peer is heard from elsewhere.
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0 for off.
    pub persistent_keepalive: Option<u16>,
    /// Remove all allowed IPs first.
    pub replace_allowed_ips: bool,
    /// Changes to allowed IPs, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// A change to a peer's allowed IPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// Give the prefix to the peer, whoever had it.
    Add(IpNet),
    /// Take the prefix from the peer, when it is the peer's (written with a leading `-`).
    Remove(IpNet),
}

impl SetPeer {
    /// No change yet.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

impl From<&PeerConfig> for SetPeer {
    /// The change that makes a peer exactly like `config`. No endpoint in it leaves a known one standing.
    fn from(config: &PeerConfig) -> Self {
        let PeerConfig {
            public_key,
            preshared_key,
            endpoint,
            persistent_keepalive,
            allowed_ips,
        } = config;
        Self {
            public_key: *public_key,
            remove: false,
            update_only: false,
            preshared_key: Some(preshared_key.clone()),
            endpoint: *endpoint,
            persistent_keepalive: Some(persistent_keepalive.unwrap_or(0)),
            replace_allowed_ips: true,
            allowed_ips: allowed_ips.iter().copied().map(AllowedIpChange::Add).collect(),
        }
    }
}

impl From<&DeviceConfig> for SetDevice {
    /// The change of `wg setconf`: what is not in `config` goes.
    fn from(config: &DeviceConfig) -> Self {
        let DeviceConfig {
            private_key,
            listen_port,
            fwmark,
            peers,
        } = config;
        Self {
            private_key: Some(Some(private_key.clone())),
            listen_port: Some(*listen_port),
            fwmark: Some(*fwmark),
            replace_peers: true,
            peers: peers.iter().map(SetPeer::from).collect(),
        }
    }
}

/// Why a request was refused. Values are not repeated: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UapiError {
    /// The first line is neither `get=1` nor `set=1`.
    #[error("a request begins with `get=1` or `set=1`")]
    NoOperation,
    /// A line without `=`.
    #[error("line {line}: expected `key=value`")]
    NoValue {
        /// Counted from 1, the operation's line.
        line: usize,
    },
    /// A key that is unknown, or that stands where it has no meaning.
    #[error("line {line}: `{key}` is not known here")]
    UnknownKey {
        /// Counted from 1, the operation's line.
        line: usize,
        /// The key, shortened.
        key: String,
    },
    /// A value that does not fit its key.
    #[error("line {line}: the value of `{key}` is not {expected}")]
    BadValue {
        /// Counted from 1, the operation's line.
        line: usize,
        /// The key.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
    },
}

impl UapiError {
    /// The number `wg` is told, as Linux counts errors; the same that wireguard-go gives.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadValue { .. } | Self::UnknownKey { .. } => EINVAL,
            Self::NoOperation | Self::NoValue { .. } => EPROTO,
        }
    }
}

/// Whether `line`, without its end, begins a request.
pub fn is_operation(line: &str) -> bool {
    matches!(line, "get=1" | "set=1")
}

/// Reads a request up to its empty line, or up to the end of `text`. The interface that an IPv6 endpoint may name
/// (`[fe80::1%eth0]:51820`) is known by its number only.
///
/// # Errors
/// The first line that does not follow the protocol.
pub fn parse(text: &str) -> Result<Request, UapiError> {
    parse_with_interfaces(text, &|_| None)
}

/// Like [`parse`], with a function that knows the numbers of interfaces, for link-local endpoints.
///
/// # Errors
/// The first line that does not follow the protocol.
pub fn parse_with_interfaces(text: &str, interface: &dyn Fn(&str) -> Option<u32>) -> Result<Request, UapiError> {
    let mut lines = (1..).zip(text.lines());
    match lines.next() {
        Some((_, "get=1")) => return lines_after_get(lines),
        Some((_, "set=1")) => {}
        _ => return Err(UapiError::NoOperation),
    }
    let mut device = SetDevice::default();
    for (line, text) in lines.take_while(|(_, text)| !text.is_empty()) {
        let (key, value) = text.split_once('=').ok_or(UapiError::NoValue { line })?;
        let field = Field { line, value, interface };
        if key == "public_key" {
            device.peers.push(SetPeer::new(PublicKey(field.key("public_key")?)));
            continue;
        }
        let known = match device.peers.last_mut() {
            Some(peer) => set_peer(peer, key, &field)?,
            None => set_device(&mut device, key, &field)?,
        };
        if !known {
            return Err(unknown(line, key));
        }
    }
    Ok(Request::Set(device))
}

fn lines_after_get<'a>(mut lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Request, UapiError> {
    match lines.next() {
        Some((line, text)) if !text.is_empty() => Err(unknown(line, text)),
        _ => Ok(Request::Get),
    }
}

fn unknown(line: usize, key: &str) -> UapiError {
    UapiError::UnknownKey {
        line,
        key: key.split('=').next().unwrap_or_default().chars().take(40).collect(),
    }
}

fn set_device(device: &mut SetDevice, key: &str, field: &Field<'_>) -> Result<bool, UapiError> {
    match key {
        "private_key" => device.private_key = Some(non_zero(field.key("private_key")?).map(PrivateKey::clamped)),
        "listen_port" => device.listen_port = Some(field.number("listen_port", "a port from 0 to 65535")?),
        "fwmark" => device.fwmark = Some(field.number("fwmark", "a number of 32 bits")?),
        "replace_peers" => device.replace_peers = field.flag("replace_peers")?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn set_peer(peer: &mut SetPeer, key: &str, field: &Field<'_>) -> Result<bool, UapiError> {
    match key {
        "remove" => peer.remove = field.flag("remove")?,
        "update_only" => peer.update_only = field.flag("update_only")?,
        "preshared_key" => peer.preshared_key = Some(non_zero(field.key("preshared_key")?).map(PresharedKey)),
        "endpoint" => peer.endpoint = Some(field.endpoint()?),
        "persistent_keepalive_interval" => {
            let seconds = field.number("persistent_keepalive_interval", "seconds from 0 to 65535")?;
            peer.persistent_keepalive = Some(seconds);
        }
        "replace_allowed_ips" => peer.replace_allowed_ips = field.flag("replace_allowed_ips")?,
        "allowed_ip" => peer.allowed_ips.push(field.allowed_ip()?),
        "protocol_version" if field.value == "1" => {}
        "protocol_version" => return Err(field.bad("protocol_version", "1")),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A key of zeros means no key (the protocol's own convention).
fn non_zero(key: [u8; KEY_LEN]) -> Option<[u8; KEY_LEN]> {
    (key != [0; KEY_LEN]).then_some(key)
}

struct Field<'a> {
    line: usize,
    value: &'a str,
    interface: &'a dyn Fn(&str) -> Option<u32>,
}

impl Field<'_> {
    fn bad(&self, key: &'static str, expected: &'static str) -> UapiError {
        UapiError::BadValue {
            line: self.line,
            key,
            expected,
        }
    }

    fn flag(&self, key: &'static str) -> Result<bool, UapiError> {
        if self.value == "true" {
            Ok(true)
        } else {
            Err(self.bad(key, "`true`"))
        }
    }

    fn number<T: FromStr>(&self, key: &'static str, expected: &'static str) -> Result<T, UapiError> {
        // No sign, not even the `+` that Rust would take.
        let digits = self.value.bytes().all(|byte| byte.is_ascii_digit());
        let number = self.value.parse().ok().filter(|_| digits);
        number.ok_or_else(|| self.bad(key, expected))
    }

    /// `wg` prints and sends a link-local address with the name of its interface.
    fn endpoint(&self) -> Result<SocketAddr, UapiError> {
        let bad = || self.bad("endpoint", "ADDRESS:PORT, IPv6 in brackets");
        let Some((address, rest)) = self.value.split_once('%') else {
            return self.value.parse().map_err(|_| bad());
        };
        let (name, port) = rest.split_once(']').ok_or_else(bad)?;
        let number = || name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()));
        let scope = (self.interface)(name).or_else(number).ok_or_else(bad)?;
        match format!("{address}]{port}").parse() {
            Ok(SocketAddr::V6(mut endpoint)) => {
                endpoint.set_scope_id(scope);
                Ok(endpoint.into())
            }
            _ => Err(bad()),
        }
    }

    fn key(&self, key: &'static str) -> Result<[u8; KEY_LEN], UapiError> {
        let bad = || self.bad(key, "64 hexadecimal digits");
        let digits = self.value.as_bytes();
        if digits.len() != 2 * KEY_LEN {
            return Err(bad());
        }
        let mut bytes = [0; KEY_LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| (digit as char).to_digit(16).ok_or_else(bad);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(bytes)
    }

    fn allowed_ip(&self) -> Result<AllowedIpChange, UapiError> {
        let (removed, text) = match self.value.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, self.value),
        };
        let net: IpNet = text.parse().map_err(|_| self.bad("allowed_ip", "ADDRESS/LENGTH"))?;
        Ok(if removed {
            AllowedIpChange::Remove(net.trunc())
        } else {
            AllowedIpChange::Add(net.trunc())
        })
    }
}

/// What `get=1` tells: the status, and the secrets that are not in it.
pub struct Report {
    /// The device's private key.
    pub private_key: Option<PrivateKey>,
    /// The rest.
    pub status: DeviceStatus,
    /// The peers' pre-shared keys, in the order of the status.
    pub preshared_keys: Vec<Option<PresharedKey>>,
}

/// The answer to `get=1`, complete.
pub fn format_report(report: &Report) -> String {
    let Report {
        private_key,
        status,
        preshared_keys,
    } = report;
    let mut text = String::with_capacity(256 + 400 * status.peers.len());
    if let Some(key) = private_key {
        line(&mut text, "private_key", &Hex(&key.0));
    }
    line(&mut text, "listen_port", &status.listen_port);
    if status.fwmark != 0 {
        line(&mut text, "fwmark", &status.fwmark);
    }
    for (peer, preshared) in status.peers.iter().zip(preshared_keys) {
        line(&mut text, "public_key", &Hex(&peer.public_key.0));
        line(
            &mut text,
            "preshared_key",
            &Hex(&preshared.as_ref().map_or([0; KEY_LEN], |key| key.0)),
        );
        line(&mut text, "protocol_version", &1);
        if let Some(endpoint) = peer.endpoint {
            line(&mut text, "endpoint", &endpoint);
        }
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let handshake = peer.latest_handshake.map(since).unwrap_or_default();
        line(&mut text, "last_handshake_time_sec", &handshake.as_secs());
        line(&mut text, "last_handshake_time_nsec", &handshake.subsec_nanos());
        line(&mut text, "tx_bytes", &peer.tx_bytes);
        line(&mut text, "rx_bytes", &peer.rx_bytes);
        line(
            &mut text,
            "persistent_keepalive_interval",
            &peer.persistent_keepalive.unwrap_or(0),
        );
        for net in &peer.allowed_ips {
            line(&mut text, "allowed_ip", net);
        }
    }
    text.push_str(&format_errno(0));
    text
}

/// The end of every answer: 0, or a positive Linux error number, which goes out negated.
pub fn format_errno(errno: i32) -> String {
    format!("errno={}\n\n", -errno)
}

fn line(text: &mut String, key: &str, value: &dyn std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

struct Hex<'a>(&'a [u8; KEY_LEN]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::PeerStatus;

    const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn requests_that_follow_the_protocol() {
        assert_eq!(parse("get=1\n\n"), Ok(Request::Get));
        assert_eq!(parse("get=1"), Ok(Request::Get));
        assert_eq!(parse("set=1\n\nfwmark=1\n"), Ok(Request::Set(SetDevice::default())));
        let text = format!(
            "set=1\nprivate_key={KEY}\nlisten_port=51820\nfwmark=0\nreplace_peers=true\n\
             public_key={KEY}\nupdate_only=true\npreshared_key={ZERO}\nendpoint=[fd00::1]:7\n\
             persistent_keepalive_interval=25\nreplace_allowed_ips=true\nprotocol_version=1\n\
             allowed_ip=10.0.0.1/24\nallowed_ip=-fd00::/64\n\
             public_key={KEY}\nremove=true\n\n"
        );
        let Ok(Request::Set(set)) = parse(&text) else {
            panic!("refused")
        };
        let mut first = SetPeer::new(PublicKey([1; 32]));
        first.update_only = true;
        first.preshared_key = Some(None);
        first.endpoint = Some("[fd00::1]:7".parse().unwrap());
        first.persistent_keepalive = Some(25);
        first.replace_allowed_ips = true;
        first.allowed_ips = vec![
            AllowedIpChange::Add("10.0.0.0/24".parse().unwrap()),
            AllowedIpChange::Remove("fd00::/64".parse().unwrap()),
        ];
        let mut second = SetPeer::new(PublicKey([1; 32]));
        second.remove = true;
        let expected = SetDevice {
            private_key: Some(Some(PrivateKey::clamped([1; 32]))),
            listen_port: Some(51820),
            fwmark: Some(0),
            replace_peers: true,
            peers: vec![first, second],
        };
        assert_eq!(set, expected);
    }

    #[test]
    fn requests_that_do_not() {
        let peer = format!("public_key={KEY}\n");
        let table = [
            (String::new(), EPROTO),
            ("get=2\n\n".to_owned(), EPROTO),
            ("get=1\nfwmark=1\n\n".to_owned(), EINVAL),
            ("set=1\nfwmark\n\n".to_owned(), EPROTO),
            ("set=1\ncolour=blue\n\n".to_owned(), EINVAL),
            ("set=1\nendpoint=10.0.0.1:1\n\n".to_owned(), EINVAL),
            ("set=1\nlisten_port=65536\n\n".to_owned(), EINVAL),
            ("set=1\nfwmark=-1\n\n".to_owned(), EINVAL),
            ("set=1\nfwmark=\n\n".to_owned(), EINVAL),
            ("set=1\nlisten_port=+1\n\n".to_owned(), EINVAL),
            ("set=1\nreplace_peers=false\n\n".to_owned(), EINVAL),
            (format!("set=1\nprivate_key={}\n\n", &KEY[1..]), EINVAL),
            (format!("set=1\nprivate_key={}\u{e9}\n\n", &KEY[2..]), EINVAL),
            (format!("set=1\n{peer}listen_port=1\n\n"), EINVAL),
            (format!("set=1\n{peer}endpoint=host:1\n\n"), EINVAL),
            (format!("set=1\n{peer}endpoint=10.0.0.1\n\n"), EINVAL),
            (format!("set=1\n{peer}allowed_ip=10.0.0.0/33\n\n"), EINVAL),
            (format!("set=1\n{peer}allowed_ip=10.0.0.0\n\n"), EINVAL),
            (format!("set=1\n{peer}persistent_keepalive_interval=70000\n\n"), EINVAL),
            (format!("set=1\n{peer}protocol_version=2\n\n"), EINVAL),
            (format!("set=1\n{peer}remove=yes\n\n"), EINVAL),
        ];
        for (text, errno) in table {
            match parse(&text) {
                Err(error) => assert_eq!(error.errno(), errno, "{text}: {error}"),
                Ok(request) => panic!("{text} was taken as {request:?}"),
            }
        }
    }

    #[test]
    fn endpoints_with_an_interface() {
        let endpoint = |text: &str| {
            let request = format!("set=1\npublic_key={KEY}\nendpoint={text}\n\n");
            let parsed = parse_with_interfaces(&request, &|name| (name == "eth0").then_some(7));
            parsed.map(|request| match request {
                Request::Set(set) => set.peers[0].endpoint.unwrap().to_string(),
                Request::Get => panic!("not what was asked"),
            })
        };
        assert_eq!(endpoint("[fe80::1%eth0]:51820").unwrap(), "[fe80::1%7]:51820");
        assert_eq!(endpoint("[fe80::1%9]:51820").unwrap(), "[fe80::1%9]:51820");
        assert_eq!(endpoint("[fe80::1]:51820").unwrap(), "[fe80::1]:51820");
        for text in [
            "[fe80::1%eth1]:51820",
            "[fe80::1%]:51820",
            "[fe80::1%+9]:51820",
            "[fe80::1%eth0:51820",
            "10.0.0.1%eth0:5",
            "[10.0.0.1%eth0]:5",
            "%]",
        ] {
            assert_eq!(endpoint(text).unwrap_err().errno(), EINVAL, "{text}");
        }
    }

    #[test]
    fn errors_do_not_repeat_values() {
        let secret = "deadbeef";
        let error = parse(&format!("set=1\nprivate_key={secret}\n\n")).unwrap_err();
        assert!(!error.to_string().contains(secret));
        let error = parse(&format!("set=1\nprivat_key={secret}\n\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 2: `privat_key` is not known here");
    }

    #[test]
    fn the_answer_to_get() {
        let peer = PeerStatus {
            public_key: PublicKey([1; 32]),
            endpoint: Some("10.0.0.9:51820".parse().unwrap()),
            latest_handshake: Some(UNIX_EPOCH + Duration::new(7, 5)),
            rx_bytes: 1,
            tx_bytes: 2,
            packets: Some(crate::PeerPackets { rx: 3, tx: 4 }),
            persistent_keepalive: Some(25),
            allowed_ips: vec!["10.0.0.0/24".parse().unwrap(), "fd00::2/128".parse().unwrap()],
        };
        let status = DeviceStatus {
            public_key: None,
            listen_port: 51820,
            fwmark: 9,
            peers: vec![peer],
        };
        let report = Report {
            private_key: Some(PrivateKey([1; 32])),
            status,
            preshared_keys: vec![None],
        };
        assert_eq!(
            format_report(&report),
            format!(
                "private_key={KEY}\nlisten_port=51820\nfwmark=9\npublic_key={KEY}\npreshared_key={ZERO}\n\
                 protocol_version=1\nendpoint=10.0.0.9:51820\nlast_handshake_time_sec=7\nlast_handshake_time_nsec=5\n\
                 tx_bytes=2\nrx_bytes=1\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/24\n\
                 allowed_ip=fd00::2/128\nerrno=0\n\n"
            )
        );
        assert_eq!(format_errno(EINVAL), "errno=-22\n\n");
    }
}
