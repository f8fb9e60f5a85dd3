//! Addresses and packets as the file names them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_wire::Family;
use ipnet::IpNet;

use super::region::Point;
use crate::config::{Config, Protocol};

/// Who has which address.
pub(super) struct Names<'a>(HashMap<IpAddr, &'a str>);

impl<'a> Names<'a> {
    pub fn of(config: &'a Config) -> Names<'a> {
        let hub = config.hub.addresses.iter().map(|net| (IpNet::addr(net), "hub"));
        let members = config.members.iter();
        let members = members.flat_map(|(name, member)| member.addresses.iter().map(|address| (*address, name.as_str())));
        let hosts = config.hosts.iter();
        let hosts = hosts.flat_map(|(name, host)| host.addresses.iter().map(|address| (*address, name.as_str())));
        Names(members.chain(hosts).chain(hub).collect())
    }

    /// `alice (192.168.4.2) > 10.0.0.9 tcp/22`
    pub fn packet(&self, point: Point, family: Family) -> String {
        let known = Protocol::ALL.iter().find(|protocol| protocol.number() == point.protocol());
        // Nothing for a rule that names no protocol.
        let service = known.map_or_else(String::new, |protocol| format!(" {}/{}", protocol.word(), point.port()));
        format!("{} > {}{service}", self.end(point.src, family), self.end(point.dst, family))
    }

    fn end(&self, bits: u128, family: Family) -> String {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        match self.0.get(&address) {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        }
    }
}
