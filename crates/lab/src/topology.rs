//! Who is where.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Error, bail};
use serde::{Deserialize, Serialize};

/// Length of the outer IPv4 prefix.
pub(crate) const OUTER_PREFIX_V4: u8 = 24;
/// Length of the outer IPv6 prefix.
pub(crate) const OUTER_PREFIX_V6: u8 = 64;
/// The interface of every machine towards the switch.
pub(crate) const OUTER: &str = "eth0";
/// The WireGuard interface of every machine.
pub(crate) const TUNNEL: &str = "wg0";
/// The UDP port on which the hub listens.
pub(crate) const HUB_PORT: u16 = 51820;
/// The TCP and UDP port of the service on client-b.
pub(crate) const SERVICE_PORT: u16 = 1234;

/// One of the talk's three machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A member with a stock client.
    ClientA,
    /// The hub.
    VpnCore,
    /// A member, and the machine of the protected service.
    ClientB,
}

impl Node {
    /// All three.
    pub const ALL: [Self; 3] = [Self::ClientA, Self::VpnCore, Self::ClientB];

    /// The machine's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientA => "client-a",
            Self::VpnCore => "vpn-core",
            Self::ClientB => "client-b",
        }
    }

    /// Its IPv4 address on the switch.
    #[must_use]
    pub const fn outer_v4(self) -> Ipv4Addr {
        match self {
            Self::ClientA => Ipv4Addr::new(10, 0, 123, 3),
            Self::VpnCore => Ipv4Addr::new(10, 0, 123, 2),
            Self::ClientB => Ipv4Addr::new(10, 0, 123, 4),
        }
    }

    /// Its IPv6 address on the switch.
    #[must_use]
    pub const fn outer_v6(self) -> Ipv6Addr {
        let host = match self {
            Self::ClientA => 3,
            Self::VpnCore => 2,
            Self::ClientB => 4,
        };
        Ipv6Addr::new(0xfd00, 0x123, 0, 0, 0, 0, 0, host)
    }

    /// Its IPv4 address in the overlay.
    #[must_use]
    pub const fn overlay_v4(self) -> Ipv4Addr {
        match self {
            Self::ClientA => Ipv4Addr::new(192, 168, 4, 2),
            Self::VpnCore => Ipv4Addr::new(192, 168, 4, 1),
            Self::ClientB => Ipv4Addr::new(192, 168, 4, 3),
        }
    }

    /// Its IPv6 address in the overlay.
    #[must_use]
    pub const fn overlay_v6(self) -> Ipv6Addr {
        let host = match self {
            Self::ClientA => 2,
            Self::VpnCore => 1,
            Self::ClientB => 3,
        };
        Ipv6Addr::new(0xfd00, 4, 0, 0, 0, 0, 0, host)
    }

    /// Its address on the switch in a family.
    #[must_use]
    pub fn outer(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.outer_v4().into(),
            Family::V6 => self.outer_v6().into(),
        }
    }

    /// Its address in the overlay in a family.
    #[must_use]
    pub fn overlay(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.overlay_v4().into(),
            Family::V6 => self.overlay_v6().into(),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Node {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|node| node.name() == text) {
            Some(node) => Ok(node),
            None => bail!("no machine \"{text}\" in the lab: its machines are client-a, vpn-core and client-b"),
        }
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for node in Node::ALL {
            assert_eq!(node.name().parse::<Node>().unwrap(), node);
        }
        let error = "client-c".parse::<Node>().unwrap_err().to_string();
        assert!(error.contains("client-c") && error.contains("client-b"), "{error}");
    }
}
