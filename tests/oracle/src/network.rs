//! The little network that every case plays in: a router between two interfaces, and the hosts around it.
//!
//! ```text
//!   10.0.0.0/24, 192.168.7.0/24   fd00:0:0:1::/64 ──tun0─┤router├─tun1── 203.0.113.0/24 and all else, 2001:db8::/32 and all else
//!                               10.0.0.1, fd00:0:0:1::1            203.0.113.1, 203.0.113.2, 2001:db8::1
//! ```

use fielato_wire::{Addr, Family};

use crate::subject::Port;

/// `ip -batch` lines that build it.
pub const COMMANDS: &str = "\
link set lo up
link set tun0 multicast off
link set tun1 multicast off
link set tun0 up
link set tun1 up
addr add 10.0.0.1/24 dev tun0
addr add 203.0.113.1/24 dev tun1
addr add 203.0.113.2/24 dev tun1
addr add fd00:0:0:1::1/64 dev tun0 nodad
addr add 2001:db8::1/32 dev tun1 nodad
route add 192.168.7.0/24 dev tun0
route add default dev tun1
route add ::/0 dev tun1
";

/// Settings under `/proc/sys/net` that hold for every case.
///
/// No ICMP rate limit, or REJECT would answer a few packets only; ICMPv6 shares IPv4's limit of all messages. No redirects: they are rate limited per peer by code that
/// can't be turned off. IPv6 without link-local addresses and address checks, so that the kernel says nothing unasked.
/// Bytes and packets of connections are counted, which `connbytes` would turn on as soon as it is used and for good.
/// Incomplete datagrams stay for longer than any case, or the ICMP error about them would be counted by a later one.
pub const SETTINGS: [(&str, &str); 31] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/tun0/rp_filter", "0"),
    ("ipv4/conf/tun1/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/tun0/send_redirects", "0"),
    ("ipv4/conf/tun1/send_redirects", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000000"),
    ("ipv4/icmp_msgs_burst", "1000000000"),
    ("ipv6/icmp/ratelimit", "0"),
    // Errors are types 0 to 127; the limit for all of them together goes by this, too.
    ("ipv6/icmp/ratemask", "134-255"),
    ("ipv6/auto_flowlabels", "0"),
    ("ipv4/ipfrag_time", "3600"),
    ("ipv6/ip6frag_time", "3600"),
    ("netfilter/nf_conntrack_frag6_timeout", "3600"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/tun0/accept_dad", "0"),
    ("ipv6/conf/tun1/accept_dad", "0"),
    ("ipv6/conf/tun0/accept_ra", "0"),
    ("ipv6/conf/tun1/accept_ra", "0"),
    ("ipv6/conf/tun0/autoconf", "0"),
    ("ipv6/conf/tun1/autoconf", "0"),
    ("ipv6/conf/tun0/addr_gen_mode", "1"),
    ("ipv6/conf/tun1/addr_gen_mode", "1"),
    ("netfilter/nf_conntrack_acct", "1"),
    ("netfilter/nf_conntrack_events", "0"),
];

/// The router's own addresses.
pub fn local(family: Family) -> [Addr; 3] {
    match family {
        Family::V4 => [v4(10, 0, 0, 1), v4(203, 0, 113, 1), v4(203, 0, 113, 2)],
        Family::V6 => [inner(1), outer(1), outer(1)],
    }
}

/// IPv6's subnet-router anycast addresses, which every router on the link has (RFC 4291 §2.6.1).
pub const fn anycast() -> [Addr; 2] {
    [inner(0), outer(0)]
}

/// Hosts behind `port`; none for [`Port::Host`].
pub fn hosts(family: Family, port: Port) -> &'static [Addr] {
    const INNER_V4: [Addr; 5] = [
        v4(10, 0, 0, 2),
        v4(10, 0, 0, 3),
        v4(10, 0, 0, 4),
        v4(10, 0, 0, 5),
        v4(192, 168, 7, 2),
    ];
    const OUTER_V4: [Addr; 5] = [
        v4(203, 0, 113, 10),
        v4(203, 0, 113, 11),
        v4(198, 51, 100, 7),
        v4(198, 51, 100, 8),
        v4(8, 8, 8, 8),
    ];
    const INNER_V6: [Addr; 5] = [inner(2), inner(3), inner(4), inner(5), inner(0x72)];
    const OUTER_V6: [Addr; 5] = [outer(0x10), outer(0x11), far(7), far(8), far(0x88)];
    match (family, port) {
        (Family::V4, Port::Inside) => &INNER_V4,
        (Family::V4, Port::Outside) => &OUTER_V4,
        (Family::V6, Port::Inside) => &INNER_V6,
        (Family::V6, Port::Outside) => &OUTER_V6,
        (_, Port::Host) => &[],
    }
}

/// The addresses that packets are made with: this network's, or another's of the same shape. No list may be empty.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// IPv4's.
    pub v4: Around,
    /// IPv6's.
    pub v6: Around,
    /// IPv4's directed broadcast on the inner network.
    pub broadcast: Addr,
}

/// One family of [`Surroundings`].
#[derive(Clone, Debug)]
pub struct Around {
    /// Hosts on the inner network.
    pub inside: Vec<Addr>,
    /// Hosts on the outer network.
    pub outside: Vec<Addr>,
    /// The router's own addresses; the first is its inner one, the second its outer one.
    pub local: [Addr; 3],
    /// Addresses on the outer network that belong to nobody.
    pub spare: Vec<Addr>,
}

impl Surroundings {
    /// A family's.
    pub fn of(&self, family: Family) -> &Around {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl Around {
    /// Hosts behind `port`; none for [`Port::Host`].
    pub fn hosts(&self, port: Port) -> &[Addr] {
        match port {
            Port::Inside => &self.inside,
            Port::Outside => &self.outside,
            Port::Host => &[],
        }
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        let around = |family| Around {
            inside: hosts(family, Port::Inside).to_vec(),
            outside: hosts(family, Port::Outside).to_vec(),
            local: local(family),
            spare: spare(family).to_vec(),
        };
        Self {
            v4: around(Family::V4),
            v6: around(Family::V6),
            broadcast: v4(10, 0, 0, 255),
        }
    }
}

/// Addresses on the outer network that belong to nobody and to which rules translate.
pub fn spare(family: Family) -> [Addr; 4] {
    match family {
        Family::V4 => [50, 51, 52, 53].map(|last| v4(203, 0, 113, last)),
        Family::V6 => [0x50, 0x51, 0x52, 0x53].map(outer),
    }
}

/// The port that the router sends `dst` to: its only routing table.
pub fn route(family: Family, dst: Addr) -> Port {
    if local(family).contains(&dst) {
        return Port::Host;
    }
    let inside = match family {
        Family::V4 => [v4(10, 0, 0, 0), v4(192, 168, 7, 0)]
            .iter()
            .any(|network| dst.within(*network, Addr::mask(family, 24))),
        Family::V6 => dst.within(inner(0), Addr::mask(family, 64)),
    };
    if inside { Port::Inside } else { Port::Outside }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Addr {
    Addr {
        hi: 0,
        lo: u32::from_be_bytes([a, b, c, d]) as u64,
    }
}

const fn inner(last: u64) -> Addr {
    Addr {
        hi: 0xfd00_0000_0000_0001,
        lo: last,
    }
}

const fn outer(last: u64) -> Addr {
    Addr {
        hi: 0x2001_0db8_0000_0000,
        lo: last,
    }
}

const fn far(last: u64) -> Addr {
    Addr {
        hi: 0x2620_00fe_0000_0000,
        lo: last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_where_their_routes_lead() {
        for family in [Family::V4, Family::V6] {
            for port in Port::ALL {
                assert!(hosts(family, port).iter().all(|host| route(family, *host) == port));
            }
            assert!(local(family).iter().all(|own| route(family, *own) == Port::Host));
            assert!(spare(family).iter().all(|spare| route(family, *spare) == Port::Outside));
        }
    }
}
