//! The network of these tests.

use fielato_gateway::{Buffer, Config, Gateway, Link, Now, Port, PortId, PortKind, Route, RpFilter};
use fielato_wire::Family;
use fielato_wire::build::Ip;

pub const TUNNEL: PortId = PortId(1);
pub const HOST: PortId = PortId(2);
pub const UPLINK: PortId = PortId(3);

/// A moment that is not the beginning of time.
pub const START: Now = Now::from_secs(1_000_000);

pub fn port(id: PortId, name: &str, kind: PortKind, addresses: &[&str]) -> Port {
    Port {
        id,
        name: name.to_owned(),
        kind,
        mtu: if kind == PortKind::Network { 1500 } else { 1420 },
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        link: Link::Ip,
        rp_filter: RpFilter::Off,
    }
}

/// Ports and routes, without rules: everything is forwarded.
pub fn config() -> Config {
    Config {
        ports: vec![
            port(TUNNEL, "wg0", PortKind::Tunnel, &["10.8.0.1/24", "fd08::1/64"]),
            port(HOST, "wg0", PortKind::Host, &[]),
            port(UPLINK, "eth0", PortKind::Network, &["192.0.2.1/24", "2001:db8::1/64"]),
        ],
        routes: ["0.0.0.0/0", "::/0"]
            .into_iter()
            .map(|net| Route {
                via: Some(
                    if net.contains(':') { "2001:db8::fe" } else { "192.0.2.254" }
                        .parse()
                        .unwrap(),
                ),
                ..Route::to(net.parse().unwrap(), UPLINK)
            })
            .collect(),
        ..Config::default()
    }
}

pub fn gateway(config: Config) -> Gateway {
    Gateway::new(config, 7, START).unwrap()
}

/// The IP header of a packet between two addresses of one family.
pub fn ip(from: &str, to: &str) -> Ip {
    Ip::between(from.parse().unwrap(), to.parse().unwrap()).unwrap()
}

/// Everything that leaves now.
pub fn sent(gateway: &mut Gateway, now: Now) -> Vec<(PortId, Vec<u8>)> {
    let packets = std::iter::from_fn(|| gateway.transmit(now));
    packets.map(|(port, Buffer { data, .. })| (port, data)).collect()
}

/// What comes of one packet.
pub fn pass(gateway: &mut Gateway, port: PortId, packet: &[u8], now: Now) -> Vec<(PortId, Vec<u8>)> {
    gateway.receive(port, Buffer::from(packet.to_vec()), now);
    sent(gateway, now)
}

pub fn drops(gateway: &Gateway) -> Vec<(&'static str, u64)> {
    gateway.drops().collect()
}

/// A member, the hub's own address in the tunnel, a server beside the hub, and one far away.
pub const fn places(family: Family) -> [&'static str; 4] {
    match family {
        Family::V4 => ["10.8.0.7", "10.8.0.1", "192.0.2.9", "198.51.100.3"],
        Family::V6 => ["fd08::7", "fd08::1", "2001:db8::9", "2001:db8:ff::3"],
    }
}

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A configuration with these rules, as iptables-save writes them.
pub fn with_rules(v4: &str, v6: &str) -> Config {
    let parse = |text, family| {
        let registry = fielato_iptables::Registry::builtin();
        let mut names = fielato_iptables::FileNames::new();
        names.set("staff");
        fielato_iptables::restore::parse(text, family, &registry, &names).unwrap()
    };
    Config {
        rulesets: [parse(v4, Family::V4), parse(v6, Family::V6)],
        ..config()
    }
}

/// A filter table as a hub has it: what follows admitted connections passes, then come `rules`, then nothing does.
pub fn filter(rules: &str) -> String {
    format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -m conntrack --ctstate INVALID -j DROP\n{rules}\nCOMMIT\n"
    )
}
