//! A hub with peers around it.
//!
//! ```text
//!   namespaces 1 to 5: a device each, 10.8.0.N, fd08::N
//!        └── veth 10.9.N.2 ── 10.9.N.1 ──┐
//!                                   the hub: 10.8.0.100, fd08::100
//! ```

use fielato_io::device::Middle;
use fielato_io::{Device, Options};

use super::devices::{PORT, config, peer};
use super::{Namespace, keys, raise, run, unique};

/// Peers.
pub const CLIENTS: u8 = 5;
/// The hub's host number.
pub const HUB: u8 = 100;

pub struct Star {
    pub hub: Namespace,
    pub hub_device: Device,
    pub clients: Vec<(Namespace, Device)>,
}

/// `middle` is what stands in the hub's device.
pub fn star(options: &Options, middle: Middle) -> Star {
    let hub = Namespace::new();
    if !matches!(middle, Middle::Gateway(_)) {
        hub.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }
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
    let hub_device = hub
        .within(|| Device::create_between(&name, options, &config, middle))
        .unwrap();
    if options.interface {
        raise(&hub, &name, HUB);
    }
    Star {
        hub,
        hub_device,
        clients,
    }
}
