//! Where the hub stands in every case, and who is around it.
//!
//! ```text
//!   members ── wg0 ─┤hub├─ eth0 ── 203.0.113.0/24, 2001:db8::/64, and by the default route all else
//!             overlay         203.0.113.1, 2001:db8::1
//! ```

use std::net::IpAddr;

use fielato_oracle::network::{Around, Surroundings};
use fielato_policy::Config;
use fielato_wire::Addr;
use ipnet::IpNet;

/// The tunnel's interface, in every policy.
pub const INTERFACE: &str = "wg0";
/// The interface towards everything else, in every policy.
pub const UPLINK_NAME: &str = "eth0";
/// The hub's addresses on the uplink.
pub const UPLINK: [&str; 2] = ["203.0.113.1/24", "2001:db8::1/64"];
/// MTU of the uplink.
pub const UPLINK_MTU: u32 = 1500;

/// Most members of whom packets come and to whom they go: a few, or conversations would be rare.
const MEMBERS: usize = 6;

/// The uplink's addresses as networks.
pub fn uplink() -> Vec<IpNet> {
    UPLINK.iter().filter_map(|net| net.parse().ok()).collect()
}

/// Who is around the hub that has this policy: members (those that are no peers now, too), an overlay address that is nobody's,
/// protected hosts and others outside.
pub fn surroundings(config: &Config) -> Surroundings {
    let broadcast = config.hub.addresses.iter().find_map(|net| match net {
        IpNet::V4(net) => Some(Addr::from(net.broadcast())),
        IpNet::V6(_) => None,
    });
    Surroundings {
        v4: around(config, false),
        v6: around(config, true),
        broadcast: broadcast.unwrap_or_else(|| Addr::from(std::net::Ipv4Addr::new(203, 0, 113, 255))),
    }
}

fn around(config: &Config, v6: bool) -> Around {
    let parsed = |texts: &[&str]| -> Vec<Addr> {
        let addresses = texts.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        addresses.filter(|address| address.is_ipv6() == v6).map(Addr::from).collect()
    };
    let of_family = |address: &&IpAddr| address.is_ipv6() == v6;
    let members: Vec<Addr> = config
        .members
        .values()
        .flat_map(|member| &member.addresses)
        .filter(of_family)
        .map(|address| Addr::from(*address))
        .collect();
    let stride = members.len().div_ceil(MEMBERS).max(1);
    let mut inside: Vec<Addr> = members.into_iter().step_by(stride).collect();
    let hub = config.hub.addresses.iter().find(|net| net.addr().is_ipv6() == v6);
    // Nobody's; without an overlay in this family, what a member without right to it may send all the same.
    inside.push(match hub {
        Some(IpNet::V4(net)) => {
            let last = net.broadcast().to_bits() - 1;
            let is_hub = last == net.addr().to_bits();
            Addr::from(std::net::Ipv4Addr::from_bits(last - u32::from(is_hub)))
        }
        Some(IpNet::V6(net)) => Addr::from(std::net::Ipv6Addr::from_bits(net.network().to_bits() + 0xfff0)),
        None => parsed(&["10.250.0.2", "fd00:250::2"])[0],
    });
    let mut outside = parsed(&[
        "203.0.113.10",
        "198.51.100.7",
        "8.8.8.8",
        "10.99.7.7",
        "2001:db8::10",
        "2620:fe::88",
        "2620:fe::7",
        "2001:db8:99::7",
    ]);
    let hosts = config.hosts.values().flat_map(|host| &host.addresses);
    outside.extend(hosts.filter(of_family).map(|address| Addr::from(*address)));
    let outer = uplink()
        .into_iter()
        .map(|net| net.addr())
        .find(|address| address.is_ipv6() == v6);
    let outer = outer.map_or(Addr::ZERO, Addr::from);
    Around {
        inside,
        outside,
        local: [hub.map_or(outer, |net| Addr::from(net.addr())), outer, outer],
        spare: parsed(&["203.0.113.77", "2001:db8::77", "192.0.2.1", "2001:db8:ffff::1"]),
    }
}
