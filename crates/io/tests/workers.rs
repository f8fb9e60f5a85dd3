//! A hub of several workers, its peers spread over them.
//!
//! ```text
//!   namespaces 1 to 5: a device each, 10.8.0.N, fd08::N
//!        └── veth 10.9.N.2 ── 10.9.N.1 ──┐
//!                                   hub: 3 workers, forwarding
//! ```

mod common;

use common::devices::{PORT, config, dropped, peer};
use common::transfers::{small_transfer, transfer};
use common::{Namespace, can_run, keys, ping, raise, run, unique};
use fielato_io::{Device, Options};
use fielato_wireguard::DropReason;

const CLIENTS: u8 = 5;
const HUB: u8 = 100;

struct Star {
    hub: Namespace,
    hub_device: Device,
    clients: Vec<(Namespace, Device)>,
}

fn star(options: &Options) -> Star {
    let hub = Namespace::new();
    hub.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let (hub_key, hub_public) = keys();
    let mut hub_peers = Vec::new();
    let clients: Vec<(Namespace, Device)> = (1..=CLIENTS)
        .map(|number| {
            let client = Namespace::new();
            run(&format!(
                "ip -n {} link add v{number} type veth peer name v0 netns {}",
                hub.0, client.0
            ));
            for (namespace, interface, host) in [(&hub, format!("v{number}"), 1), (&client, "v0".to_owned(), 2)] {
                namespace.run(&format!("ip addr add 10.9.{number}.{host}/24 dev {interface}"));
                namespace.run(&format!("ip link set {interface} up"));
            }
            let (key, public) = keys();
            hub_peers.push(peer(public, number, None));
            let mut to_hub = peer(hub_public, HUB, Some(&format!("10.9.{number}.1:{PORT}")));
            to_hub.allowed_ips = vec!["10.8.0.0/24".parse().unwrap(), "fd08::/64".parse().unwrap()];
            let name = unique("w");
            let device = client
                .within(|| Device::create(&name, 1420, &config(&key, vec![to_hub])))
                .unwrap();
            raise(&client, &name, number);
            (client, device)
        })
        .collect();
    let name = unique("w");
    let config = config(&hub_key, hub_peers);
    let hub_device = hub.within(|| Device::create(&name, options.clone(), &config)).unwrap();
    raise(&hub, &name, HUB);
    Star {
        hub,
        hub_device,
        clients,
    }
}

fn carries_everything(options: &Options) {
    let star = star(options);
    for (client, _) in &star.clients {
        assert!(ping(client, &format!("10.8.0.{HUB}")) && ping(client, &format!("fd08::{HUB}")));
    }
    // From every peer to the next one, whose worker is another, all at once and in both families.
    std::thread::scope(|scope| {
        for from in 0..star.clients.len() {
            let to = (from + 1) % star.clients.len();
            let (from, to_namespace) = (&star.clients[from].0, &star.clients[to].0);
            let address = format!("10.8.0.{}", to + 1).parse().unwrap();
            scope.spawn(move || transfer(from, to_namespace, address, small_transfer()));
        }
    });
    for (from, to) in [(0, 1), (2, 4)] {
        let address = format!("fd08::{}", to + 1).parse().unwrap();
        transfer(&star.clients[from].0, &star.clients[to].0, address, small_transfer());
    }
    // What only leaves, and nothing comes back of: the kernel learns no flow from it.
    star.hub.run("ping -q -c 3 -i 0.2 10.8.0.3");
    for reason in [
        DropReason::UnknownIndex,
        DropReason::NoSession,
        DropReason::Replayed,
        DropReason::QueueFull,
    ] {
        assert_eq!(dropped(&star.hub_device, reason), 0, "{reason}");
    }
    let status = star.hub_device.status();
    assert!(
        status
            .peers
            .iter()
            .all(|peer| peer.rx_bytes > small_transfer() && peer.latest_handshake.is_some())
    );
}

#[test]
fn peers_of_several_workers_reach_each_other() {
    if !can_run("peers_of_several_workers_reach_each_other") {
        return;
    }
    carries_everything(&Options {
        workers: Some(3),
        ..Options::new(1420)
    });
}

#[test]
fn one_worker_reads_for_all_where_the_kernel_does_not_steer() {
    if !can_run("one_worker_reads_for_all_where_the_kernel_does_not_steer") {
        return;
    }
    carries_everything(&Options {
        workers: Some(3),
        steering: false,
        ..Options::new(1420)
    });
}

#[test]
fn a_plain_interface_carries_everything() {
    if !can_run("a_plain_interface_carries_everything") {
        return;
    }
    carries_everything(&Options {
        workers: Some(2),
        offloads: false,
        ..Options::new(1420)
    });
}
