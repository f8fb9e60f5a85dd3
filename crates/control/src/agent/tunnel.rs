//! The tunnel of an enrolled host: an interface of the agent's, whose only peer is the hub.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link};
use fielato_wireguard::{DeviceConfig, PeerConfig, PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::tunnel::{Choice, Tunnel};

/// Takes an interface away that a stopped agent has left.
pub(super) fn remove(interface: &str) -> Result<()> {
    crate::tunnel::remove_leftovers(&mut Netlink::open()?, interface)
}

/// Seconds between keepalives: the hub must be able to reach a host behind NAT at any time.
const KEEPALIVE: u16 = 25;

/// What the tunnel is made from, beside its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelSettings {
    /// Where the hub is reached: name or address, and UDP port.
    pub endpoint: String,
    /// Who the hub is.
    pub hub_key: PublicKey,
    /// The host's overlay addresses, with the overlay's prefix lengths.
    pub addresses: Vec<IpNet>,
    /// What the hub may send from, and what is sent to it.
    pub allowed_ips: Vec<IpNet>,
    /// MTU of the interface.
    pub mtu: u32,
}

impl TunnelSettings {
    /// Brings the interface up. The kernel's, when it stands from before, keeps its sessions.
    ///
    /// # Errors
    /// When the hub's name is not known at the moment, or the interface cannot be made.
    pub(super) fn bring_up(&self, interface: &str, key: &PrivateKey, psk: Option<PresharedKey>) -> Result<Tunnel> {
        let config = DeviceConfig {
            private_key: key.clone(),
            listen_port: 0,
            fwmark: 0,
            peers: vec![PeerConfig {
                public_key: self.hub_key,
                preshared_key: psk,
                endpoint: Some(self.resolve()?),
                persistent_keepalive: Some(KEEPALIVE),
                allowed_ips: self.allowed_ips.clone(),
            }],
        };
        let mut netlink = Netlink::open()?;
        let tunnel = Tunnel::create(&mut netlink, Choice::Auto, interface, self.mtu, &config)?;
        let finished = self.finish(&mut netlink, interface);
        match finished {
            Ok(()) => Ok(tunnel),
            Err(error) => {
                tunnel.remove(&mut netlink)?;
                Err(error)
            }
        }
    }

    fn finish(&self, netlink: &mut Netlink, interface: &str) -> Result<()> {
        let link = link::get(netlink, interface)?;
        let present = address::list(netlink)?;
        for wanted in &self.addresses {
            if !present
                .iter()
                .any(|known| known.index == link.index && known.address == *wanted)
            {
                address::add(netlink, link.index, *wanted)?;
            }
        }
        Ok(link::set_up(netlink, &link, true)?)
    }

    fn resolve(&self) -> Result<SocketAddr> {
        let endpoint = &self.endpoint;
        let mut found = endpoint
            .to_socket_addrs()
            .with_context(|| format!("cannot find the hub {endpoint}"))?;
        found
            .next()
            .with_context(|| format!("the hub's name {endpoint} has no address"))
    }
}
