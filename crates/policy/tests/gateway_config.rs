//! Plans as gateways: where packets go, who is banned, and that size does no harm.

#[path = "common/random.rs"]
mod random;

mod common;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fielato_gateway::{Buffer, Gateway, Link, Now, PortId};
use fielato_policy::gateway::{self, Exit, HOST, TUNNEL, UPLINK, Uplink};
use fielato_policy::{Config, Plan};
use fielato_wire::Headers;
use fielato_wire::build::{Ip, Tcp};
use fielato_wireguard::PublicKey;

fn now() -> Now {
    Now::from_secs(1_780_000_000)
}

fn started(plan: &Plan, uplink: &Uplink) -> Gateway {
    Gateway::new(gateway::config(plan, uplink), 1, now()).unwrap_or_else(|error| panic!("{error}"))
}

/// What leaves when this packet comes by `port`: which way, from where to where.
fn sent(gateway: &mut Gateway, port: PortId, packet: Vec<u8>) -> Option<(PortId, IpAddr, IpAddr)> {
    gateway.receive(port, Buffer::from(packet), now());
    let (port, buffer) = gateway.transmit(now())?;
    assert!(gateway.transmit(now()).is_none());
    let headers = Headers::receive(&buffer.data).unwrap();
    let to_ip = |address: fielato_wire::Addr| address.to_ip(headers.family);
    Some((port, to_ip(headers.src), to_ip(headers.dst)))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn syn(src: &str, dst: &str, port: u16) -> Vec<u8> {
    Ip::between(ip(src), ip(dst)).unwrap().tcp(&Tcp::new(4000, port).syn())
}

#[test]
fn packets_take_the_ports_that_the_kernel_would_choose() {
    let config = common::config(&common::full());
    let plan = common::plan(&common::full());
    let uplink = Uplink {
        addresses: vec!["10.0.123.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
        gateways: vec![ip("10.0.123.1"), ip("2001:db8::1")],
        ..Uplink::supposed(&config)
    };
    let mut gateway = started(&plan, &uplink);
    let cases = [
        (TUNNEL, "192.168.4.2", "10.0.123.4", 443, (UPLINK, "10.0.123.2", "10.0.123.4")),
        (
            TUNNEL,
            "fd00:4::2",
            "2001:db8::4",
            443,
            (UPLINK, "2001:db8::2", "2001:db8::4"),
        ),
        (TUNNEL, "192.168.4.2", "8.8.8.8", 53, (UPLINK, "10.0.123.2", "8.8.8.8")),
        (TUNNEL, "fd00:4::2", "fd00:4::3", 22, (TUNNEL, "fd00:4::2", "fd00:4::3")),
        (TUNNEL, "192.168.4.2", "192.168.4.1", 22, (HOST, "192.168.4.2", "192.168.4.1")),
        (UPLINK, "10.0.123.4", "192.168.4.2", 22, (TUNNEL, "10.0.123.4", "192.168.4.2")),
        (HOST, "192.168.4.1", "192.168.4.2", 22, (TUNNEL, "192.168.4.1", "192.168.4.2")),
        (HOST, "10.0.123.2", "8.8.4.4", 53, (UPLINK, "10.0.123.2", "8.8.4.4")),
    ];
    for (port, src, dst, dport, (way, from, to)) in cases {
        let found = sent(&mut gateway, port, syn(src, dst, dport));
        assert_eq!(found, Some((way, ip(from), ip(to))), "{src} {dst}");
    }
    let dropped = [(UPLINK, "192.168.4.2", "10.0.123.4"), (TUNNEL, "192.168.4.9", "8.8.8.8")];
    for (port, src, dst) in dropped {
        let found = sent(&mut gateway, port, syn(src, dst, 9));
        assert!(found.is_none_or(|(_, _, to)| to == ip(src)), "{found:?}");
    }
}

#[test]
fn the_proxys_packets_keep_their_source() {
    let config = common::config(&common::talk());
    let plan = common::plan(&common::talk());
    let uplink = Uplink {
        exit: Exit::Proxy,
        ..Uplink::supposed(&config)
    };
    let found = sent(&mut started(&plan, &uplink), TUNNEL, syn("192.168.4.2", "10.0.123.4", 1234));
    assert_eq!(found, Some((UPLINK, ip("192.168.4.2"), ip("10.0.123.4"))));
    // All else is the same.
    let rules = gateway::rules(&plan, &uplink);
    let masqueraded = gateway::rules(&plan, &Uplink::supposed(&config));
    for (proxy, other) in rules.rulesets.iter().zip(&masqueraded.rulesets) {
        let chains = |ruleset: &fielato_netfilter::Ruleset| {
            let chains = ruleset.table("filter").unwrap().chains.iter();
            chains.map(|chain| chain.rules.len()).collect::<Vec<_>>()
        };
        assert_eq!(chains(proxy), chains(other));
        assert!(proxy.table("nat").is_none() && other.table("nat").is_some());
    }
}

#[test]
fn an_ethernet_uplink_has_its_address() {
    let config = common::config(&common::talk());
    let uplink = Uplink {
        exit: Exit::Ethernet { mac: [2, 0, 0, 0, 0, 1] },
        ..Uplink::supposed(&config)
    };
    let made = gateway::config(&common::plan(&common::talk()), &uplink);
    let links: Vec<Link> = made.ports.iter().map(|port| port.link).collect();
    assert_eq!(links, [Link::Ip, Link::Ip, Link::Ethernet { mac: [2, 0, 0, 0, 0, 1] }]);
}

#[test]
fn bans_with_and_without_an_end() {
    let text = format!("{}\n[[ban]]\naddress = \"192.168.4.3\"\n", common::full());
    let plan = common::plan(&text);
    let made = gateway::config(&plan, &Uplink::supposed(&common::config(&text)));
    let end: jiff::Timestamp = "2026-12-31T00:00:00Z".parse().unwrap();
    let end = u64::try_from(end.as_nanosecond()).unwrap();
    assert_eq!(
        made.guard.bans,
        [
            ("203.0.113.0/24".parse().unwrap(), Some(end)),
            ("192.168.4.3/32".parse().unwrap(), None),
        ]
    );
}

#[test]
fn every_configuration_makes_a_gateway() {
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..100 {
        let text = random::configuration(&mut rng);
        let uplink = Uplink::supposed(&common::config(&text));
        started(&common::plan(&text), &uplink);
    }
}

/// A thousand rules, ten thousand members in fifty groups.
fn large() -> String {
    let mut text = String::from(
        "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.123.2:51820\"\naddresses = [\"10.8.0.1/16\", \"fd00:8::1/64\"]\nuplink = \"eth0\"\n",
    );
    for number in 2..10_002_u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let v4 = std::net::Ipv4Addr::from_bits(0x0a08_0000 + number);
        let v6 = std::net::Ipv6Addr::from_bits(0xfd00_0008_0000_0000_0000_0000_0000_0000 + u128::from(number));
        let (key, group) = (PublicKey(key), number % 50);
        let _ = write!(
            text,
            "[member.m{number}]\naddresses = [\"{v4}\", \"{v6}\"]\npublic_key = \"{key}\"\ngroups = [\"g{group}\"]\n"
        );
    }
    for number in 0..200 {
        let _ = write!(
            text,
            "[host.h{number}]\naddress = \"10.9.0.{number}\"\nstrategy = \"source\"\n"
        );
        let _ = write!(
            text,
            "[service.s{number}]\nhost = \"h{number}\"\nports = [\"tcp/{}\"]\n",
            1000 + number
        );
    }
    for number in 0..1000 {
        let (group, service) = (number % 50, number % 200);
        let _ = write!(
            text,
            "[[rule]]\nfrom = \"g{group}\"\nto = \"s{service}\"\naction = \"accept\"\n"
        );
    }
    text
}

#[test]
fn ten_thousand_members_and_a_thousand_rules_are_quick() {
    let text = large();
    let config = Config::parse(&text).unwrap();
    let plan = common::plan(&text);
    let uplink = Uplink::supposed(&config);
    let begun = Instant::now();
    let made = gateway::config(&plan, &uplink);
    let rules = made.rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let rules: usize = rules.flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
    assert!(rules < 1100, "members are elements: {rules} rules");
    let mut gateway = Gateway::new(made, 1, now()).unwrap();
    let took = begun.elapsed();
    eprintln!("made in {took:?}");
    // Generous: this is an unoptimized build beside others. A quadratic step takes minutes.
    assert!(took < Duration::from_secs(20), "{took:?}");
    // Member 10,001 is in group 1; rule 952 is the last that lets it reach something.
    let found = sent(&mut gateway, TUNNEL, syn("10.8.39.17", "10.9.0.151", 1151));
    assert_eq!(found, Some((UPLINK, ip("10.0.123.2"), ip("10.9.0.151"))));
    assert_eq!(sent(&mut gateway, TUNNEL, syn("10.8.39.17", "10.9.0.152", 1152)), None);
    let begun = Instant::now();
    for port in 0..1000_u16 {
        let packet = Ip::v4([10, 8, 39, 17], [10, 9, 0, 151]).tcp(&Tcp::new(5000 + port, 1151).syn());
        sent(&mut gateway, TUNNEL, packet).unwrap();
    }
    let each = begun.elapsed() / 1000;
    eprintln!("a new connection in {each:?}");
    assert!(each < Duration::from_millis(5), "{each:?}");
}
