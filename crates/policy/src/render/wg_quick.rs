//! Members' and the hub's files for wg-quick.

use std::net::IpAddr;

use fielato_wireguard::wg_quick::{Interface, Peer, WgQuick};
use fielato_wireguard::{PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;

use super::family::Family;
use crate::config::{Config, Hub, Member, Route, Strategy};
use crate::plan::Plan;

/// What of a member's secrets is known here.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The member's private key, when it was generated here.
    pub private_key: Option<PrivateKey>,
    /// Its pre-shared key.
    pub psk: Option<PresharedKey>,
}

/// A member's file, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberFile {
    /// The file.
    pub file: WgQuick,
    /// In words, for the terminal; they are in the file as comments too.
    pub warnings: Vec<String>,
}

/// The file that takes member `name` to the hub; `None` when there is no such member. `split` overrides the configured route:
/// true for `lab`, false for `all`.
pub fn member_config(
    config: &Config,
    name: &str,
    secrets: Secrets,
    hub_public_key: PublicKey,
    split: Option<bool>,
) -> Option<MemberFile> {
    let member = config.members.get(name)?;
    let Secrets { private_key, psk } = secrets;
    let hub = &config.hub;
    let route = match split {
        Some(true) => &Route::Lab,
        Some(false) => &Route::All,
        None => &member.route,
    };
    let allowed_ips = allowed_ips(config, route);
    let warnings = warnings(hub, member, &allowed_ips);
    let mut interface = Interface {
        comments: std::iter::once(format!("Name = {name}"))
            .chain(warnings.iter().map(|warning| format!("Note: {warning}")))
            .collect(),
        addresses: member.addresses.iter().copied().map(IpNet::from).collect(),
        dns: hub.dns.iter().map(ToString::to_string).collect(),
        mtu: Some(hub.mtu),
        ..Interface::default()
    };
    match private_key {
        Some(key) => interface.private_key = Some(key),
        None => {
            let comment = "The private key never left this machine: put it into the file named below, mode 0600.";
            interface.comments.push(comment.to_owned());
            interface
                .post_up
                .push("wg set %i private-key /etc/wireguard/%i.key".to_owned());
        }
    }
    let mut peer = Peer::new(hub_public_key);
    peer.comments.push("the hub".to_owned());
    peer.preshared_key = psk;
    peer.allowed_ips = allowed_ips;
    peer.endpoint = Some(endpoint(hub));
    peer.persistent_keepalive = member.keepalive;
    Some(MemberFile {
        file: WgQuick {
            interface,
            peers: vec![peer],
        },
        warnings,
    })
}

fn endpoint(hub: &Hub) -> String {
    let host = &hub.endpoint.host;
    if host.contains(':') {
        format!("[{host}]:{}", hub.endpoint.port)
    } else {
        format!("{host}:{}", hub.endpoint.port)
    }
}

/// What a member sends through the tunnel.
pub fn allowed_ips(config: &Config, route: &Route) -> Vec<IpNet> {
    let hub = &config.hub;
    let mut nets: Vec<IpNet> = hub.addresses.iter().map(IpNet::trunc).collect();
    match route {
        // A whole family through the tunnel even where the overlay has none: what the hub cannot carry shall
        // not pass beside it.
        Route::All => return vec![IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())],
        Route::Lab => {
            // A host of strategy `member` is reached by its overlay address.
            let hosts = config.hosts.values().filter(|host| host.strategy == Strategy::Source);
            nets.extend(hosts.flat_map(|host| &host.addresses).copied().map(IpNet::from));
            nets.extend(&hub.lab);
        }
        Route::Prefixes(prefixes) => nets.extend(prefixes),
    }
    let mut seen = std::collections::HashSet::new();
    nets.retain(|net| seen.insert(*net));
    nets
}

fn warnings(hub: &Hub, member: &Member, allowed_ips: &[IpNet]) -> Vec<String> {
    let mut warnings = Vec::new();
    // wg-quick keeps the encrypted packets out of the tunnel by a mark, but only for default routes.
    if let Ok(endpoint) = hub.endpoint.host.parse::<IpAddr>() {
        for net in allowed_ips
            .iter()
            .filter(|net| net.prefix_len() > 0 && net.contains(&endpoint))
        {
            warnings.push(format!(
                "{net} contains the hub's own address {endpoint}: encrypted packets would be sent into the tunnel again. Take a smaller network, or route = \"all\"."
            ));
        }
    }
    for family in Family::BOTH {
        let routed = allowed_ips.iter().any(|net| Family::of(net.addr()) == family);
        let has_address = member.addresses.iter().any(|address| Family::of(*address) == family);
        if routed && !has_address && !allowed_ips.iter().any(|net| net.prefix_len() == 0) {
            let word = if family == Family::V4 { "IPv4" } else { "IPv6" };
            warnings.push(format!(
                "this member has no {word} address: the {word} networks in AllowedIPs cannot be reached."
            ));
        }
    }
    if member.disabled {
        warnings.push("this member is disabled: the hub will not answer.".to_owned());
    }
    warnings
}

/// The hub's own file, for machines where wg-quick runs the hub. Secrets stay in their files: the private key is set by `PostUp`,
/// pre-shared keys are left out.
pub fn hub_config(plan: &Plan, key_path: &str) -> WgQuick {
    let interface = Interface {
        comments: vec![
            "Made from fielato.toml. Pre-shared keys are left out: they are secrets, in files of their own.".to_owned(),
            "Rules and shaping are not in this file: render with --format nft or --format script.".to_owned(),
        ],
        addresses: plan.addresses.clone(),
        mtu: Some(plan.mtu),
        listen_port: Some(plan.listen_port),
        post_up: vec![format!("wg set %i private-key {key_path}")],
        ..Interface::default()
    };
    let peers = plan.peers.iter().map(|peer| Peer {
        comments: vec![format!("Name = {}", peer.name)],
        allowed_ips: peer.allowed_ips.clone(),
        ..Peer::new(peer.public_key)
    });
    WgQuick {
        interface,
        peers: peers.collect(),
    }
}
