//! What a host needs to become one: `fielato host enrol` makes it, `fielato agent enrol` takes it.

use std::net::SocketAddr;

use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A token. Whoever has it, can be the host, once: it is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Format.
    pub version: u32,
    /// The host's name.
    pub host: String,
    /// Where the hub is reached: name or address, and UDP port.
    pub endpoint: String,
    /// Who the hub is.
    pub hub_key: PublicKey,
    /// The name that the host's WireGuard interface must have.
    pub interface: String,
    /// Its MTU.
    pub mtu: u32,
    /// The host's overlay addresses, with the overlay's prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The hub's overlay addresses, with the control port.
    pub hub: Vec<SocketAddr>,
    /// What the hub may send from, and what is sent to it.
    pub allowed_ips: Vec<IpNet>,
    /// In base64, the key that the hub knows the host by until it has one of its own.
    pub private_key: String,
    /// In base64, a key beside it, if the host's member has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preshared_key: Option<String>,
    /// Said once, for a key of the host's own.
    pub secret: String,
    /// Not usable from then on.
    pub until: Timestamp,
}

impl std::fmt::Debug for Token {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("host", &self.host)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
