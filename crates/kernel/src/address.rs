//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{Netlink, NetlinkError};

/// Why something could not be done to an address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The interface has the address already.
    #[error("interface number {index} has the address {address} already")]
    Exists {
        /// The interface.
        index: u32,
        /// The address.
        address: IpNet,
    },
    /// The interface hasn't the address.
    #[error("interface number {index} hasn't the address {address}")]
    Missing {
        /// The interface.
        index: u32,
        /// The address.
        address: IpNet,
    },
    /// IPv6 is switched off on the interface.
    #[error(
        "cannot add {address} to interface number {index}: IPv6 is switched off there; \
         set net.ipv6.conf.INTERFACE.disable_ipv6 to 0, or give no IPv6 address"
    )]
    NoIpv6 {
        /// The interface.
        index: u32,
        /// The address.
        address: IpNet,
    },
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    Netlink {
        /// What was asked for.
        doing: String,
        /// What came back.
        source: NetlinkError,
    },
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The interface's own address, with the length of its network's prefix.
    pub address: IpNet,
    /// Whether it is meant for the whole network, not for this link or this machine only.
    pub global: bool,
    /// Whether it may be used: neither tentative, nor found double, nor deprecated.
    pub usable: bool,
}

/// All addresses of the namespace.
///
/// # Errors
/// [`AddressError::Netlink`].
pub fn list(netlink: &mut Netlink) -> Result<Vec<Address>, AddressError> {
    let replies = netlink
        .request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)
        .map_err(|source| AddressError::Netlink {
            doing: "list the addresses".to_owned(),
            source,
        })?;
    let addresses = replies.iter().filter_map(|reply| match reply {
        RouteNetlinkMessage::NewAddress(message) => read(message),
        _ => None,
    });
    Ok(addresses.collect())
}

/// Gives an interface an address. An IPv6 address is usable at once: no other machine on an overlay could have it, and
/// a WireGuard interface can't ask (`IFA_F_NODAD`).
///
/// # Errors
/// [`AddressError::Exists`] when it has it already, or others.
pub fn add(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), AddressError> {
    let message = RouteNetlinkMessage::NewAddress(describe(index, address));
    match netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
        Ok(_) => Ok(()),
        Err(error) if error.errno() == Some(libc::EEXIST) => Err(AddressError::Exists { index, address }),
        Err(error) if error.errno() == Some(libc::EACCES) && address.addr().is_ipv6() => {
            Err(AddressError::NoIpv6 { index, address })
        }
        Err(source) => Err(AddressError::Netlink {
            doing: format!("add {address} to interface number {index}"),
            source,
        }),
    }
}

/// Takes an address from an interface.
///
/// # Errors
/// [`AddressError::Missing`] when it hasn't it, or others.
pub fn remove(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), AddressError> {
    let message = RouteNetlinkMessage::DelAddress(describe(index, address));
    match netlink.request(message, 0) {
        Ok(_) => Ok(()),
        Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => Err(AddressError::Missing { index, address }),
        Err(source) => Err(AddressError::Netlink {
            doing: format!("remove {address} from interface number {index}"),
            source,
        }),
    }
}

fn describe(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    match address {
        IpNet::V4(_) => message.header.family = AddressFamily::Inet,
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message
}

fn read(message: &AddressMessage) -> Option<Address> {
    let mut local: Option<IpAddr> = None;
    let mut other = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a point-to-point interface the second is the other end's; IPv6 gives only the second when there is no other end.
    let address = IpNet::new(local.or(other)?, message.header.prefix_len).ok()?;
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    Some(Address {
        index: message.header.index,
        address,
        global: message.header.scope == AddressScope::Universe,
        usable: !flags.intersects(unusable),
    })
}
