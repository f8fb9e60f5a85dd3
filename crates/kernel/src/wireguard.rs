//! The kernel's WireGuard, over generic netlink (linux/wireguard.h).

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use fielato_wireguard::{DeviceConfig, DeviceStatus, PeerChange, PeerConfig, PrivateKey, PublicKey, config::PeerStatus};
use ipnet::IpNet;
use netlink_packet_core::{Emitable, NLM_F_DUMP, NlasIterator, Parseable as _};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardDeviceFlags,
    WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags, WireguardTimeSpec,
};

use crate::generic::Generic;
use crate::netlink::NetlinkError;

const FAMILY: &str = "wireguard";
const VERSION: u8 = 1;

/// The list of peers is one attribute, whose length has 16 bits; half of that leaves room for all else.
const PEERS_LIMIT: usize = 32 * 1024;

/// Why something could not be done to a WireGuard interface.
#[derive(Debug, thiserror::Error)]
pub enum WireguardError {
    /// The kernel has no WireGuard.
    #[error("this kernel has no WireGuard; load the module \"wireguard\", or let fielato run the interface itself")]
    NoModule,
    /// No interface has the name.
    #[error("there is no interface {0}")]
    Missing(String),
    /// The interface is something else.
    #[error("interface {0} is not one of the kernel's WireGuard")]
    NotWireguard(String),
    /// Another program has the UDP port.
    #[error("interface {interface} can't listen on UDP port {port}: another program has it; stop that or choose another port")]
    PortTaken {
        /// The interface.
        interface: String,
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("cannot {doing} WireGuard interface {interface}: {source}")]
    Netlink {
        /// "read" or "set".
        doing: &'static str,
        /// The interface.
        interface: String,
        /// What came back.
        source: NetlinkError,
    },
}

/// Whether the kernel has WireGuard. Asking makes it load the module if it can.
pub fn available() -> bool {
    Generic::open().and_then(|mut generic| generic.family(FAMILY)).is_ok()
}

/// A way to the kernel's WireGuard interfaces in one network namespace.
pub struct Wireguard {
    generic: Generic,
}

impl Wireguard {
    /// For the interfaces in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`WireguardError::NoModule`], or [`WireguardError::Netlink`] when there is no socket to be had.
    pub fn open() -> Result<Self, WireguardError> {
        let opened = Generic::open().and_then(|mut generic| generic.family(FAMILY).map(|_| Self { generic }));
        opened.map_err(|error| explain("read", "", error))
    }

    /// What an interface reports.
    ///
    /// # Errors
    /// Any [`WireguardError`] but `PortTaken`.
    pub fn get(&mut self, interface: &str) -> Result<DeviceStatus, WireguardError> {
        let question = emit(&[WireguardAttribute::IfName(interface.to_owned())]);
        let replies = self
            .generic
            .request(FAMILY, WireguardCmd::GetDevice.into(), VERSION, NLM_F_DUMP, &question)
            .map_err(|error| explain("read", interface, error))?;
        read(&replies).map_err(|source| WireguardError::Netlink {
            doing: "read",
            interface: interface.to_owned(),
            source,
        })
    }

    /// Makes an interface exactly as described. Every session ends.
    ///
    /// # Errors
    /// Any [`WireguardError`]. The interface may have a part of the peers then.
    pub fn set(&mut self, interface: &str, config: &DeviceConfig) -> Result<(), WireguardError> {
        let changes: Vec<PeerChange> = config.peers.iter().cloned().map(PeerChange::Set).collect();
        let mut own = own_attributes(&config.private_key, config.listen_port, config.fwmark);
        own.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
        self.send(interface, own, &changes, config.listen_port)
    }

    /// Sets what is the interface's own, and leaves its peers and their sessions alone.
    ///
    /// # Errors
    /// Any [`WireguardError`].
    pub fn set_own(
        &mut self,
        interface: &str,
        private_key: &PrivateKey,
        listen_port: u16,
        fwmark: u32,
    ) -> Result<(), WireguardError> {
        self.send(interface, own_attributes(private_key, listen_port, fwmark), &[], listen_port)
    }

    /// Changes the peers that are named, in this order. Other peers and their sessions are left alone, and so is the session
    /// of a peer whose description changes.
    ///
    /// A peer's endpoint can be set and not taken away: the kernel has no way to.
    ///
    /// # Errors
    /// Any [`WireguardError`] but `PortTaken`. A part of the changes may have been made then.
    pub fn apply(&mut self, interface: &str, changes: &[PeerChange]) -> Result<(), WireguardError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.send(interface, Vec::new(), changes, 0)
    }

    fn send(
        &mut self,
        interface: &str,
        own: Vec<WireguardAttribute>,
        changes: &[PeerChange],
        port: u16,
    ) -> Result<(), WireguardError> {
        for message in encode(interface, own, changes) {
            let message = emit(&message);
            self.generic
                .request(FAMILY, WireguardCmd::SetDevice.into(), VERSION, 0, &message)
                .map_err(|error| match error.errno() {
                    Some(libc::EADDRINUSE) => WireguardError::PortTaken {
                        interface: interface.to_owned(),
                        port,
                    },
                    _ => explain("set", interface, error),
                })?;
        }
        Ok(())
    }
}

fn explain(doing: &'static str, interface: &str, error: NetlinkError) -> WireguardError {
    let interface = interface.to_owned();
    match (&error, error.errno()) {
        (NetlinkError::NoFamily(_), _) => WireguardError::NoModule,
        (_, Some(libc::ENODEV)) => WireguardError::Missing(interface),
        (_, Some(libc::EOPNOTSUPP)) => WireguardError::NotWireguard(interface),
        _ => WireguardError::Netlink {
            doing,
            interface,
            source: error,
        },
    }
}

fn emit(attributes: &[WireguardAttribute]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

fn own_attributes(private_key: &PrivateKey, listen_port: u16, fwmark: u32) -> Vec<WireguardAttribute> {
    vec![
        WireguardAttribute::PrivateKey(private_key.0),
        WireguardAttribute::ListenPort(listen_port),
        WireguardAttribute::Fwmark(fwmark),
    ]
}

/// The messages that make the changes, each small enough. The first one carries the interface's own attributes, too.
fn encode(interface: &str, own: Vec<WireguardAttribute>, changes: &[PeerChange]) -> Vec<Vec<WireguardAttribute>> {
    let mut lists = vec![Vec::new()];
    let mut size = 0;
    for peer in changes.iter().flat_map(encode_change) {
        let length = peer.buffer_len();
        if size + length > PEERS_LIMIT {
            lists.push(Vec::new());
            size = 0;
        }
        size += length;
        lists.last_mut().expect("never empty").push(peer);
    }
    let mut own = Some(own);
    let messages = lists.into_iter().map(|peers| {
        let mut message = vec![WireguardAttribute::IfName(interface.to_owned())];
        message.extend(own.take().unwrap_or_default());
        if !peers.is_empty() {
            message.push(WireguardAttribute::Peers(peers));
        }
        message
    });
    messages.collect()
}

/// One change as one peer attribute, or as several when it has more allowed IPs than go into one.
fn encode_change(change: &PeerChange) -> Vec<WireguardPeer> {
    /// 40 bytes each at most: a thousand take more than a message, so stay well below.
    const ALLOWED_IPS_LIMIT: usize = 500;
    let peer = match change {
        PeerChange::Set(peer) => peer,
        PeerChange::Remove(key) => {
            return vec![WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
            ])];
        }
    };
    let PeerConfig {
        public_key,
        preshared_key,
        endpoint,
        persistent_keepalive,
        allowed_ips,
    } = peer;
    let mut chunks = allowed_ips.chunks(ALLOWED_IPS_LIMIT);
    let mut first = vec![
        WireguardPeerAttribute::PublicKey(public_key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
        // A key of zeros is how the protocol writes "none", and takes away one that was there.
        WireguardPeerAttribute::PresharedKey(preshared_key.as_ref().map_or([0; 32], |key| key.0)),
        WireguardPeerAttribute::PersistentKeepalive(persistent_keepalive.unwrap_or(0)),
    ];
    first.extend(endpoint.map(WireguardPeerAttribute::Endpoint));
    first.extend(chunks.next().map(encode_allowed_ips));
    let more = chunks.map(|chunk| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(public_key.0),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            encode_allowed_ips(chunk),
        ])
    });
    std::iter::once(WireguardPeer(first)).chain(more).collect()
}

fn encode_allowed_ips(allowed_ips: &[IpNet]) -> WireguardPeerAttribute {
    let encoded = allowed_ips.iter().map(|net| {
        let family = match net {
            IpNet::V4(_) => WireguardAddressFamily::Ipv4,
            IpNet::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.addr()),
            WireguardAllowedIpAttr::Cidr(net.prefix_len()),
        ])
    });
    WireguardPeerAttribute::AllowedIps(encoded.collect())
}

/// Puts the messages of a dump together. A peer with many allowed IPs goes on in the next message under the same key.
fn read(messages: &[Vec<u8>]) -> Result<DeviceStatus, NetlinkError> {
    let malformed = |error: netlink_packet_core::DecodeError| NetlinkError::Malformed(error.to_string());
    let mut status = DeviceStatus {
        public_key: None,
        listen_port: 0,
        fwmark: 0,
        peers: Vec::new(),
    };
    for message in messages {
        for attribute in NlasIterator::new(message.as_slice()) {
            match WireguardAttribute::parse(&attribute.map_err(malformed)?).map_err(malformed)? {
                WireguardAttribute::PublicKey(key) => status.public_key = Some(PublicKey(key)),
                WireguardAttribute::ListenPort(port) => status.listen_port = port,
                WireguardAttribute::Fwmark(mark) => status.fwmark = mark,
                WireguardAttribute::Peers(peers) => {
                    for peer in peers {
                        let peer = read_peer(&peer)?;
                        match status.peers.last_mut() {
                            Some(last) if last.public_key == peer.public_key => last.allowed_ips.extend(peer.allowed_ips),
                            _ => status.peers.push(peer),
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(status)
}

fn read_peer(WireguardPeer(attributes): &WireguardPeer) -> Result<PeerStatus, NetlinkError> {
    let mut key = None;
    let mut peer = PeerStatus {
        public_key: PublicKey([0; 32]),
        endpoint: None,
        latest_handshake: None,
        rx_bytes: 0,
        packets: None,
        tx_bytes: 0,
        persistent_keepalive: None,
        allowed_ips: Vec::new(),
    };
    for attribute in attributes {
        match attribute {
            WireguardPeerAttribute::PublicKey(bytes) => key = Some(PublicKey(*bytes)),
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(*endpoint),
            WireguardPeerAttribute::LastHandshake(time) => peer.latest_handshake = read_time(*time),
            WireguardPeerAttribute::RxBytes(bytes) => peer.rx_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.tx_bytes = *bytes,
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                peer.persistent_keepalive = Some(*seconds).filter(|&seconds| seconds != 0);
            }
            WireguardPeerAttribute::AllowedIps(allowed_ips) => {
                peer.allowed_ips = allowed_ips.iter().filter_map(read_allowed_ip).collect();
            }
            _ => {}
        }
    }
    peer.public_key = key.ok_or_else(|| NetlinkError::Malformed("a WireGuard peer without a public key".to_owned()))?;
    Ok(peer)
}

fn read_allowed_ip(WireguardAllowedIp(attributes): &WireguardAllowedIp) -> Option<IpNet> {
    let mut address: Option<IpAddr> = None;
    let mut length = None;
    for attribute in attributes {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

/// All zero until the first handshake.
fn read_time(time: WireguardTimeSpec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanoseconds = u32::try_from(time.nano_seconds)
        .ok()
        .filter(|&nanoseconds| nanoseconds < 1_000_000_000)?;
    if (seconds, nanoseconds) == (0, 0) {
        return None;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use fielato_wireguard::PresharedKey;

    use super::*;

    fn peer(number: u32, allowed_ips: Vec<IpNet>) -> PeerConfig {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PeerConfig {
            public_key: PublicKey(key),
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            allowed_ips,
        }
    }

    /// What the kernel would do with the messages, in so far as it is encoded in them.
    fn replay(messages: &[Vec<WireguardAttribute>]) -> (DeviceStatus, Vec<Vec<u8>>) {
        let bytes: Vec<Vec<u8>> = messages.iter().map(|message| emit(message)).collect();
        (read(&bytes).unwrap(), bytes)
    }

    #[test]
    fn ten_thousand_peers_come_back_out_of_messages_that_are_small_enough() {
        let peers: Vec<PeerConfig> = (0..10_000u32)
            .map(|number| {
                let v4 = IpNet::new(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), 32).unwrap();
                let v6 = IpNet::new(IpAddr::from((0xfd00_u128 << 112 | u128::from(number)).to_be_bytes()), 128).unwrap();
                peer(number, vec![v4, v6])
            })
            .collect();
        let changes: Vec<PeerChange> = peers.iter().cloned().map(PeerChange::Set).collect();
        let messages = encode("wg0", own_attributes(&PrivateKey([1; 32]), 51820, 3), &changes);
        let (status, bytes) = replay(&messages);
        assert_eq!((status.listen_port, status.fwmark), (51820, 3));
        assert_eq!(status.peers.len(), peers.len());
        for (status, peer) in status.peers.iter().zip(&peers) {
            assert_eq!((status.public_key, &status.allowed_ips), (peer.public_key, &peer.allowed_ips));
        }
        assert!(bytes.len() > 1 && bytes.iter().all(|bytes| bytes.len() < PEERS_LIMIT + 200));
        assert!(
            messages
                .iter()
                .all(|message| message.contains(&WireguardAttribute::IfName("wg0".to_owned())))
        );
        let with_key = messages
            .iter()
            .filter(|message| message.contains(&WireguardAttribute::PrivateKey([1; 32])));
        assert_eq!(with_key.count(), 1);
    }

    #[test]
    fn a_peer_of_many_networks_goes_on_under_its_key() {
        let networks: Vec<IpNet> = (0..3_000u32)
            .map(|n| IpNet::new(IpAddr::from((0xc000_0000 + n * 256).to_be_bytes()), 24).unwrap())
            .collect();
        let changes = [
            PeerChange::Set(peer(1, networks.clone())),
            PeerChange::Set(peer(2, Vec::new())),
        ];
        let messages = encode("wg0", Vec::new(), &changes);
        let (status, bytes) = replay(&messages);
        assert!(bytes.iter().all(|bytes| bytes.len() < PEERS_LIMIT + 200));
        assert_eq!(status.peers.len(), 2);
        assert_eq!(status.peers[0].allowed_ips, networks);
        let flags = messages.iter().flatten().filter_map(|attribute| match attribute {
            WireguardAttribute::Peers(peers) => Some(peers),
            _ => None,
        });
        let replacing = flags.flatten().filter(|peer| {
            peer.0
                .contains(&WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps))
        });
        assert_eq!(replacing.count(), 2, "the rest of the list must not replace its beginning");
    }

    #[test]
    fn every_field_of_a_peer_is_encoded_and_absence_too() {
        let v6 = "[2001:db8::1]:51820".parse().unwrap();
        let full = PeerConfig {
            preshared_key: Some(PresharedKey([9; 32])),
            endpoint: Some(v6),
            persistent_keepalive: Some(25),
            ..peer(1, vec!["192.168.4.2/32".parse().unwrap()])
        };
        let [WireguardPeer(attributes)] = &encode_change(&PeerChange::Set(full.clone()))[..] else {
            panic!()
        };
        assert!(attributes.contains(&WireguardPeerAttribute::PresharedKey([9; 32])));
        let (status, _) = replay(&encode("wg0", Vec::new(), &[PeerChange::Set(full)]));
        assert_eq!(status.peers[0].endpoint, Some(v6));
        assert_eq!(status.peers[0].persistent_keepalive, Some(25));

        let [WireguardPeer(attributes)] = &encode_change(&PeerChange::Set(peer(2, Vec::new())))[..] else {
            panic!()
        };
        assert!(attributes.contains(&WireguardPeerAttribute::PresharedKey([0; 32])));
        assert!(attributes.contains(&WireguardPeerAttribute::PersistentKeepalive(0)));

        let key = PublicKey([3; 32]);
        let [WireguardPeer(attributes)] = &encode_change(&PeerChange::Remove(key))[..] else {
            panic!()
        };
        assert_eq!(
            attributes[..],
            [
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe)
            ]
        );
    }

    #[test]
    fn no_handshake_is_no_time() {
        assert_eq!(read_time(WireguardTimeSpec::default()), None);
        let time = WireguardTimeSpec {
            seconds: 5,
            nano_seconds: 7,
        };
        assert_eq!(read_time(time), Some(SystemTime::UNIX_EPOCH + Duration::new(5, 7)));
    }
}
