//! The whole path in one process, between peers in namespaces, the hub's own programs, and what stands beside it.

mod common;

use std::time::{Duration, Instant};

use common::devices::dropped;
use common::star::{HUB, Star, star};
use common::transfers::{small_transfer, transfer};
use common::{can_run, ping};
use std::collections::BTreeMap;

use fielato_gateway::{Config, Egress, Gateway, Link, Port, PortId, PortKind, RpFilter, Side};
use fielato_io::Options;
use fielato_io::device::{Crossing, Middle};
use fielato_netfilter::rule::{AddressMatch, Policy, Table};
use fielato_netfilter::{Now, Rule, Target};
use fielato_wire::Addr;
use fielato_wireguard::DropReason;
use ipnet::IpNet;

const TUNNEL: PortId = PortId(0);
const HOST: PortId = PortId(1);

/// A hub that forwards between its peers, but not from those addresses.
fn hub(forbidden: &[&str]) -> Config {
    let port = |id, name: &str, kind, addresses: &[String]| Port {
        id,
        name: name.to_owned(),
        kind,
        mtu: 1420,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        link: Link::Ip,
        rp_filter: RpFilter::Off,
    };
    let mut config = Config {
        ports: vec![
            port(
                TUNNEL,
                "wg0",
                PortKind::Tunnel,
                &[format!("10.8.0.{HUB}/24"), format!("fd08::{HUB}/64")],
            ),
            port(HOST, "host", PortKind::Host, &[]),
        ],
        ..Config::default()
    };
    for (family, ruleset) in config.rulesets.iter_mut().enumerate() {
        let mut filter = Table::standard("filter").unwrap();
        let forward = filter.chain_mut("FORWARD").unwrap();
        forward.policy = Some(Policy::Accept);
        for net in forbidden.iter().map(|net| net.parse::<IpNet>().unwrap()) {
            if net.addr().is_ipv6() == (family == 1) {
                let mut rule = Rule {
                    target: Target::Drop,
                    ..Rule::default()
                };
                rule.ip.source = AddressMatch {
                    network: Addr::from(net.network()),
                    mask: Addr::from(net.netmask()),
                    negated: false,
                };
                forward.rules.push(rule);
            }
        }
        ruleset.tables.push(filter);
    }
    config
}

fn crossing(config: Config) -> Middle {
    Middle::Gateway(Box::new(Crossing {
        gateway: Gateway::new(config, 1, Now::default()).unwrap(),
        tunnel: TUNNEL,
        host: HOST,
        exit: None,
    }))
}

/// A star whose hub knows where its peers are.
fn greeted(options: &Options, middle: Middle) -> Star {
    let star = star(options, middle);
    for (client, device) in &star.clients {
        client.attempt(&format!("ping -c 1 -W 1 10.8.0.{HUB}"));
        assert!(device.status().peers[0].latest_handshake.is_some());
    }
    star
}

fn carries_everything(options: &Options) -> Star {
    let star = greeted(options, crossing(hub(&[])));
    for (client, _) in &star.clients {
        let drops = || star.hub_device.with_gateway(|gateway, _| gateway.drops().collect::<Vec<_>>());
        assert!(ping(client, "10.8.0.1") && ping(client, "fd08::2"), "{:?}", drops());
    }
    std::thread::scope(|scope| {
        for from in 0..star.clients.len() {
            let to = (from + 1) % star.clients.len();
            let (from, to_namespace) = (&star.clients[from].0, &star.clients[to].0);
            let address = format!("10.8.0.{}", to + 1).parse().unwrap();
            scope.spawn(move || transfer(from, to_namespace, address, small_transfer()));
        }
    });
    let address = "fd08::3".parse().unwrap();
    transfer(&star.clients[1].0, &star.clients[2].0, address, small_transfer());
    for reason in [
        DropReason::UnknownIndex,
        DropReason::NoSession,
        DropReason::Replayed,
        DropReason::QueueFull,
    ] {
        assert_eq!(dropped(&star.hub_device, reason), 0, "{reason}");
    }
    star
}

#[test]
fn peers_reach_each_other_and_the_hub() {
    if !can_run("peers_reach_each_other_and_the_hub") {
        return;
    }
    let star = carries_everything(&Options {
        workers: Some(3),
        ..Options::new(1420)
    });
    for (client, _) in &star.clients {
        assert!(ping(client, &format!("10.8.0.{HUB}")) && ping(client, &format!("fd08::{HUB}")));
    }
    for (address, client) in [("10.8.0.100", 0), ("fd08::100", 1)] {
        transfer(&star.clients[client].0, &star.hub, address.parse().unwrap(), small_transfer());
    }
    transfer(&star.hub, &star.clients[3].0, "10.8.0.4".parse().unwrap(), small_transfer());
}

#[test]
fn without_an_interface_peers_reach_each_other() {
    if !can_run("without_an_interface_peers_reach_each_other") {
        return;
    }
    carries_everything(&Options {
        workers: Some(2),
        interface: false,
        ..Options::new(1420)
    });
}

#[test]
fn a_new_policy_stops_at_once_what_it_forbids() {
    if !can_run("a_new_policy_stops_at_once_what_it_forbids") {
        return;
    }
    let star = greeted(&Options::new(1420), crossing(hub(&[])));
    let reach = |from: usize| ping(&star.clients[from].0, "10.8.0.5") && ping(&star.clients[from].0, "fd08::5");
    assert!(reach(0) && reach(1));
    let swap = |forbidden: &[&str]| {
        let swapped = star.hub_device.with_gateway(|gateway, now| gateway.swap(hub(forbidden), now));
        swapped.unwrap().unwrap();
    };
    swap(&["10.8.0.1/32", "fd08::1/128"]);
    let client = &star.clients[0].0;
    assert!(!ping(client, "10.8.0.5") && !ping(client, "fd08::5"));
    assert!(reach(1));
    swap(&[]);
    assert!(reach(0));
}

#[test]
fn disciplines_on_the_way_to_the_peers_delay() {
    if !can_run("disciplines_on_the_way_to_the_peers_delay") {
        return;
    }
    const DELAY: Duration = Duration::from_millis(200);
    let plain = Middle::Egress(Box::new(Egress::new(Side::Destination, fielato_qdisc::Settings::default())));
    let star = greeted(&Options::new(1420), plain);
    let time = || {
        assert!(ping(&star.clients[0].0, "10.8.0.2"));
        let start = Instant::now();
        assert!(ping(&star.clients[0].0, "10.8.0.2"));
        start.elapsed()
    };
    let before = time();
    star.hub_device
        .with_egress(|egress, now| {
            let netem = fielato_qdisc::Item::Qdisc(fielato_qdisc::qdisc("root netem delay 200ms").unwrap());
            egress.apply(&[netem], &BTreeMap::new(), now)
        })
        .unwrap()
        .unwrap();
    let with = time();
    // Once to the peer, once back: both leave by the hub's interface.
    assert!(with >= before.max(DELAY * 2), "{before:?} {with:?}");
    transfer(&star.clients[2].0, &star.clients[3].0, "10.8.0.4".parse().unwrap(), 1 << 20);
}
