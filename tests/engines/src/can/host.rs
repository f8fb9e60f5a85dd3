//! Protected hosts: each in a network namespace of its own, with the rules that its plan is rendered to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use fielato_oracle::kernel::namespace::Blueprint;
use fielato_oracle::kernel::nfnetlink::{CountedRule, INET};
use fielato_oracle::kernel::place::Place;
use fielato_oracle::network::SETTINGS;
use fielato_oracle::subject::{Output, Port};
use fielato_policy::plan::Origin;
use fielato_policy::render::wg_quick::{self, Secrets};
use fielato_policy::{HostPlan, HostPlans, render};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;

use crate::error::Error;
use crate::kernel::await_routes;
use crate::network::{INTERFACE, UPLINK_NAME};
use crate::scene::{Scene, SharedLines};
use crate::subject::Tallies;

/// The namespaces of one policy's hosts after another.
#[derive(Default)]
pub struct Hosts {
    /// By name, those that a packet met under this policy.
    loaded: BTreeMap<String, Machine>,
    /// Namespaces that no host is in.
    free: Vec<Place>,
}

/// A protected host.
pub struct Machine {
    place: Place,
    shared: SharedLines,
    /// Whether a packet may have left anything behind since connections were last forgotten.
    used: bool,
}

impl Hosts {
    /// Goes on to another policy.
    pub fn clear(&mut self) {
        let machines = std::mem::take(&mut self.loaded);
        self.free.extend(machines.into_values().map(|machine| machine.place));
    }

    /// The protected host of that name; nothing when there is none.
    ///
    /// # Errors
    /// When its namespace can't be made, or it refuses its rules.
    pub fn machine(&mut self, scene: &Scene, name: &str) -> Result<Option<&mut Machine>, Error> {
        if !self.loaded.contains_key(name) {
            // As the hub makes it for the host's agent; trace makes it in another way.
            let Some(plan) = HostPlans::new(&scene.config, &scene.plan).get(name) else {
                return Ok(None);
            };
            let place = self.free.pop().unwrap_or_else(|| Place::new(blueprint()));
            self.loaded.insert(name.to_owned(), Machine::new(place, scene, &plan)?);
        }
        Ok(self.loaded.get_mut(name))
    }

    /// Every host forgets its connections.
    ///
    /// # Errors
    /// When one can't.
    pub fn forget(&mut self) -> Result<(), Error> {
        for machine in self.loaded.values_mut().filter(|machine| machine.used) {
            machine.place.namespace()?.opened.tracking.flush()?;
            machine.used = false;
        }
        Ok(())
    }

    /// Packets by machine, chain and comment.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn tallies(&mut self) -> Result<Tallies, Error> {
        let mut tallies = Tallies::new();
        for (name, machine) in &mut self.loaded {
            machine.count(name, &mut tallies)?;
        }
        Ok(tallies)
    }
}

impl Machine {
    fn new(mut place: Place, scene: &Scene, plan: &HostPlan) -> Result<Self, Error> {
        place.enter()?;
        let nft = render::nft::host(plan);
        let namespace = place.namespace()?;
        namespace.opened.tracking.flush()?;
        let tunnel = tunnel(scene, &plan.name);
        let own = scene.config.hosts.get(&plan.name).map_or(&[][..], |host| &host.addresses);
        namespace.run("ip", &["-4", "-batch", "-"], commands(&tunnel, own, false))?;
        namespace.run("ip", &["-6", "-batch", "-"], commands(&tunnel, own, true))?;
        let own: Vec<Ipv6Addr> = tunnel
            .addresses
            .iter()
            .copied()
            .chain(own.iter().copied().map(IpNet::from))
            .filter_map(v6)
            .collect();
        namespace.within(move || await_routes(&own))??;
        namespace.run("nft", &["-f", "-"], nft.clone())?;
        namespace.outputs()?;
        Ok(Self {
            place,
            shared: SharedLines::of(&nft),
            used: true,
        })
    }

    /// Gives it a packet and returns what comes out because of it: [`Port::Inside`] is the tunnel, [`Port::Outside`] its own network.
    ///
    /// # Errors
    /// When it can't be handed over.
    pub fn inject(&mut self, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        self.used = true;
        self.place.inject(port, packet)?;
        Ok(self.place.namespace()?.outputs()?)
    }

    /// The name under which packets of a rule are counted.
    pub fn tally(&self, chain: &str, comment: &str) -> String {
        format!("{chain}: {}", self.shared.comment(chain, comment))
    }

    fn count(&mut self, name: &str, tallies: &mut Tallies) -> Result<(), Error> {
        let rules = &mut self.place.namespace()?.opened.tracking;
        rules.rules(INET, |message| {
            if let Some(rule) = CountedRule::read(message)
                && rule.table == "fielato_host"
                && rule.packets > 0
            {
                let protected = || Origin::Protected.comment();
                let comment = rule.comment.unwrap_or_else(protected);
                let sum = tallies.entry(format!("{name} {}: {comment}", rule.chain)).or_default();
                *sum = (sum.0 + rule.packets, sum.1 + rule.bytes);
            }
        })?;
        Ok(())
    }
}

/// As the host's file for wg-quick has it.
#[derive(Default)]
struct Tunnel {
    addresses: Vec<IpNet>,
    allowed_ips: Vec<IpNet>,
}

fn tunnel(scene: &Scene, name: &str) -> Tunnel {
    let file = wg_quick::member_config(&scene.config, name, Secrets::default(), PublicKey([0; 32]), None);
    let Some(file) = file.map(|made| made.file) else {
        return Tunnel::default();
    };
    Tunnel {
        addresses: file.interface.addresses,
        allowed_ips: file.peers.into_iter().flat_map(|peer| peer.allowed_ips).collect(),
    }
}

/// What a member sends through the tunnel, and takes out of it, as its file for wg-quick says.
pub fn allowed_ips(scene: &Scene, name: &str) -> Vec<IpNet> {
    tunnel(scene, name).allowed_ips
}

fn v6(net: IpNet) -> Option<Ipv6Addr> {
    match net.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

/// The hub's settings, but that it is no router, and that its tunnel is checked as the agent has it checked.
fn blueprint() -> Blueprint {
    let settings = SETTINGS.iter().map(|(name, value)| {
        let value = match *name {
            "ipv4/ip_forward" | "ipv6/conf/all/forwarding" => "0",
            "ipv4/conf/tun0/rp_filter" => "1",
            _ => value,
        };
        let name = name.replace("tun0", INTERFACE).replace("tun1", UPLINK_NAME);
        (name, value.to_owned())
    });
    let mut commands = format!("link set lo up\nlink set {INTERFACE} multicast off\nlink set {UPLINK_NAME} multicast off\n");
    commands += &format!("link set {INTERFACE} up\nlink set {UPLINK_NAME} up\n");
    Blueprint {
        tuns: [INTERFACE, UPLINK_NAME].map(str::to_owned),
        settings: settings.collect(),
        commands,
        tracking: true,
        sealed: false,
    }
}

/// Another host's addresses and routes are replaced by this one's: by its own network goes what doesn't go into the tunnel.
fn commands(tunnel: &Tunnel, own: &[IpAddr], v6: bool) -> String {
    let mut commands = String::new();
    for device in [INTERFACE, UPLINK_NAME] {
        commands += &format!("route flush dev {device}\naddr flush dev {device}\n");
    }
    let nodad = if v6 { " nodad" } else { "" };
    for net in tunnel.addresses.iter().filter(|net| net.addr().is_ipv6() == v6) {
        commands += &format!("addr add {net} dev {INTERFACE}{nodad}\n");
    }
    for address in own.iter().filter(|address| address.is_ipv6() == v6) {
        commands += &format!("addr add {} dev {UPLINK_NAME}{nodad}\n", IpNet::from(*address));
    }
    for net in tunnel.allowed_ips.iter().filter(|net| net.addr().is_ipv6() == v6) {
        commands += &format!("route replace {net} dev {INTERFACE}\n");
    }
    let all = if v6 { "::/0" } else { "0.0.0.0/0" };
    commands += &format!("route replace {all} dev {UPLINK_NAME}\n");
    commands
}
