//! What a WireGuard device is told and what it reports, whichever engine runs it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// A whole device, as `wg setconf` would set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The device's own key.
    pub private_key: PrivateKey,
    /// UDP port to listen on; 0 lets the system choose.
    pub listen_port: u16,
    /// Mark of outgoing packets; 0 for none.
    pub fwmark: u32,
    /// The peers, at most one per public key.
    pub peers: Vec<PeerConfig>,
}

/// One peer, as `wg set IFACE peer …` would set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer's identity.
    pub public_key: PublicKey,
    /// Mixed into the handshake when present.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send before the peer has been heard from.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; `None` for off.
    pub persistent_keepalive: Option<u16>,
    /// What the peer may send from, and what is sent to it.
    pub allowed_ips: Vec<IpNet>,
}

/// One step of `wg syncconf`: peers that are not named keep their sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChange {
    /// Add the peer, or change an existing one to exactly this.
    Set(PeerConfig),
    /// Remove the peer and its session.
    Remove(PublicKey),
}

/// What is left of both without the beginning and the end that they share. Of ten thousand peers most stand in both, in the
/// same order.
pub fn differing<'a, T>(old: &'a [T], new: &'a [T], same: impl Fn(&T, &T) -> bool) -> (&'a [T], &'a [T]) {
    let same = |(a, b): &(&T, &T)| same(a, b);
    let begin = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[begin..], &new[begin..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    (&old[..old.len() - end], &new[..new.len() - end])
}

/// The steps that lead from the peers `old` to the peers `new`, removals first so that
/// an allowed IP that moves from one peer to another is free when it is taken.
pub fn changes(old: &[PeerConfig], new: &[PeerConfig]) -> Vec<PeerChange> {
    let (old, new) = differing(old, new, |a, b| a == b);
    let before: BTreeMap<PublicKey, &PeerConfig> = old.iter().map(|peer| (peer.public_key, peer)).collect();
    let after: BTreeMap<PublicKey, &PeerConfig> = new.iter().map(|peer| (peer.public_key, peer)).collect();
    let removed = old.iter().filter(|peer| !after.contains_key(&peer.public_key));
    let set = new.iter().filter(|peer| before.get(&peer.public_key) != Some(peer));
    removed
        .map(|peer| PeerChange::Remove(peer.public_key))
        .chain(set.map(|peer| PeerChange::Set(peer.clone())))
        .collect()
}

/// What a running device reports, as `wg show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The device's public key, when it has a private one.
    pub public_key: Option<PublicKey>,
    /// UDP port in use.
    pub listen_port: u16,
    /// Mark of outgoing packets; 0 for none.
    pub fwmark: u32,
    /// The peers.
    pub peers: Vec<PeerStatus>,
}

/// What a running device reports of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer's identity.
    pub public_key: PublicKey,
    /// Where the peer was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake completed.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes received, as `wg show` counts them.
    pub rx_bytes: u64,
    /// Bytes sent, as `wg show` counts them.
    pub tx_bytes: u64,
    /// Packets inside the tunnel; `None` where nobody counts them, as in the kernel's driver.
    pub packets: Option<PeerPackets>,
    /// Seconds between keepalives; `None` for off.
    pub persistent_keepalive: Option<u16>,
    /// What the peer may send from.
    pub allowed_ips: Vec<IpNet>,
}

/// Packets inside the tunnel, as a peer sent and got them: handshakes and keepalives have none, and of a superpacket each
/// piece is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerPackets {
    /// Received: decrypted, and from an address that the peer may have.
    pub rx: u64,
    /// Sent: encrypted for the peer.
    pub tx: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8, ip: &str) -> PeerConfig {
        PeerConfig {
            public_key: PublicKey([id; 32]),
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            allowed_ips: vec![ip.parse().unwrap()],
        }
    }

    #[test]
    fn changes_leave_unchanged_peers_alone_and_remove_first() {
        let old = [peer(1, "10.0.0.1/32"), peer(2, "10.0.0.2/32"), peer(3, "fd00::3/128")];
        let new = [peer(1, "10.0.0.1/32"), peer(2, "10.0.0.9/32"), peer(4, "fd00::3/128")];
        assert_eq!(
            changes(&old, &new),
            [
                PeerChange::Remove(PublicKey([3; 32])),
                PeerChange::Set(peer(2, "10.0.0.9/32")),
                PeerChange::Set(peer(4, "fd00::3/128")),
            ]
        );
        assert_eq!(changes(&new, &new), []);
    }
}
