//! Networks that should have nothing in common.

use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::{About, Finding, Kind, Severity};
use crate::config::{Config, Exit, Route};

/// The overlay against what lies behind the hub, and the hub's own address against what goes into the tunnel.
pub(super) fn overlaps(config: &Config) -> Vec<Finding> {
    let hub = &config.hub;
    let mut findings = Vec::new();
    let mut add = |about: About, message: String, help: &str| {
        findings.push(Finding {
            kind: Kind::Overlap,
            severity: Severity::Warning,
            about,
            message,
            help: help.to_owned(),
        });
    };
    let overlay: Vec<IpNet> = hub.addresses.iter().map(IpNet::trunc).collect();
    for (net, lab) in pairs(&overlay, &hub.lab) {
        add(
            About::Hub,
            format!("the lab's network {lab} overlaps the overlay {net}: packets for addresses in both go into the tunnel"),
            "give the overlay a network of its own",
        );
    }
    if let Exit::Packet(packet) = &hub.exit {
        for (net, exit) in pairs(&overlay, &packet.addresses) {
            add(
                About::Hub,
                format!("the exit's network {} overlaps the overlay {net}", exit.trunc()),
                "give the overlay a network of its own",
            );
        }
    }
    for source in hub
        .source
        .iter()
        .filter(|source| overlay.iter().any(|net| net.contains(*source)))
    {
        add(
            About::Hub,
            format!("the hub's address {source} outside the VPN is inside the overlay"),
            "write the address by which protected hosts know the hub",
        );
    }
    let doubled = hub.lab.iter().enumerate().flat_map(|(place, one)| {
        let later = hub.lab.get(place.saturating_add(1)..).unwrap_or_default();
        later
            .iter()
            .map(move |other| (one, other))
            .filter(|(one, other)| share(one, other))
    });
    for (one, other) in doubled {
        add(
            About::Hub,
            format!("the lab's networks {one} and {other} overlap"),
            "one of them is enough",
        );
    }
    if let Ok(endpoint) = hub.endpoint.host.parse::<IpAddr>() {
        if let Some(lab) = hub.lab.iter().find(|net| loops(net, endpoint)) {
            add(
                About::Hub,
                format!(
                    "the lab's network {lab} holds the hub's endpoint {endpoint}: members with `route = \"lab\"` would send encrypted packets into the tunnel again"
                ),
                "take a smaller network",
            );
        }
        for (name, member) in &config.members {
            let Route::Prefixes(prefixes) = &member.route else { continue };
            if let Some(net) = prefixes.iter().find(|net| loops(net, endpoint)) {
                add(
                    About::Member(name.clone()),
                    format!(
                        "{name}'s route {net} holds the hub's endpoint {endpoint}: it would send encrypted packets into the tunnel again"
                    ),
                    "take a smaller network, or route = \"all\"",
                );
            }
        }
    }
    findings
}

/// wg-quick keeps the encrypted packets out of the tunnel by a mark, but only for default routes.
fn loops(net: &IpNet, endpoint: IpAddr) -> bool {
    net.prefix_len() > 0 && net.contains(&endpoint)
}

fn pairs<'a>(some: &'a [IpNet], others: &'a [IpNet]) -> impl Iterator<Item = (&'a IpNet, &'a IpNet)> {
    let all = some.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    all.filter(|(one, other)| share(one, other))
}

/// Whether they have an address in common: then one is inside the other.
fn share(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}
