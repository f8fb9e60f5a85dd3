//! What is known of the machine that is to be the hub, before there is a configuration.

use std::net::IpAddr;

use ipnet::IpNet;

/// Found on the machine, or chosen by the person who runs `init`.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineFacts {
    /// Name of the WireGuard interface to be.
    pub interface: String,
    /// Host name or address at which members reach the machine, without port.
    pub endpoint: String,
    /// UDP port.
    pub listen_port: u16,
    /// The interface of the default route.
    pub uplink: String,
    /// The hub's overlay addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The machine's own addresses on the uplink, one per family at most.
    pub source: Vec<IpAddr>,
}

impl MachineFacts {
    /// `HOST:PORT`, an IPv6 address in brackets.
    pub(crate) fn endpoint_with_port(&self, port: u16) -> String {
        if self.endpoint.contains(':') {
            format!("[{}]:{port}", self.endpoint)
        } else {
            format!("{}:{port}", self.endpoint)
        }
    }
}
