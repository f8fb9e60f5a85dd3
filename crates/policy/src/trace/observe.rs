//! What the gateway saw of a packet, as stations.

use std::net::{IpAddr, SocketAddr};

use fielato_gateway::trace::{self as seen, Endpoint, GuardVerdict, Met, Outcome, RouteVerdict};
use fielato_wire::Family;

use super::packet::Shown;
use super::station::{PacketEnd, Reason, Step};
use crate::gateway::{Origin, Rules, is_supposed};

/// What the gateway saw of one packet, in the terms of the policy: also for a running gateway's packets, when `rules` are those
/// that it runs.
pub fn steps(stations: &[seen::Station], rules: &Rules) -> Vec<Step> {
    let family = family(stations);
    let delivered = stations.contains(&seen::Station::End(Outcome::Delivered));
    // Handing it to the machine's own stack is no waiting in a queue.
    let shown = |station: &&seen::Station| !delivered || !matches!(station, seen::Station::Queue { .. });
    let steps = stations
        .iter()
        .filter(shown)
        .filter_map(|station| step(station, family, rules));
    steps.collect()
}

/// The family of the packet that the stations are about.
fn family(stations: &[seen::Station]) -> Family {
    let v6 = stations
        .iter()
        .any(|station| matches!(station, seen::Station::Received { packet: Some(packet), .. } if packet.source.is_ipv6()));
    if v6 { Family::V6 } else { Family::V4 }
}

fn step(station: &seen::Station, family: Family, rules: &Rules) -> Option<Step> {
    Some(match station {
        seen::Station::Received { port, .. } => Step::Arrive { interface: port.clone() },
        seen::Station::Guard { verdict } => match verdict {
            GuardVerdict::Passed => Step::Guard {
                ban: None,
                limited: false,
            },
            GuardVerdict::Off => return None,
            GuardVerdict::Banned(network) => Step::Guard {
                ban: Some(*network),
                limited: false,
            },
            GuardVerdict::Limited => Step::Guard {
                ban: None,
                limited: true,
            },
        },
        seen::Station::Rule {
            hook,
            table,
            chain,
            met,
            number,
            target,
            comment: _,
        } => {
            // The policy of a chain without rules decides nothing that anybody asked for.
            if *met != Met::Rule && *number <= 1 {
                return None;
            }
            let place = (*met == Met::Rule).then_some(*number as usize);
            Step::Table {
                hook: hook.to_lowercase(),
                table: table.clone(),
                chain: chain.clone(),
                rule: place,
                origin: place.and_then(|number| rules.origin(family, table, chain, number.checked_sub(1)?)),
                verdict: target.to_lowercase(),
            }
        }
        seen::Station::Connection { state, .. } => Step::Connection {
            state: match state {
                seen::State::New => "new",
                seen::State::Established => "established",
                seen::State::Related => "related",
                seen::State::Invalid => "invalid",
                seen::State::Untracked => "untracked",
            },
        },
        seen::Station::Nat {
            is_source,
            before,
            after,
        } => Step::Nat {
            end: if *is_source {
                PacketEnd::Source
            } else {
                PacketEnd::Destination
            },
            before: ends(before),
            after: ends(after),
            supposed: is_supposed(after.address),
        },
        seen::Station::Route { verdict } => match verdict {
            RouteVerdict::Local => Step::Route {
                interface: None,
                via: None,
            },
            RouteVerdict::Out { port, via, table: _ } => Step::Route {
                interface: Some(port.clone()),
                via: *via,
            },
            RouteVerdict::Refused(_) => return None,
        },
        seen::Station::Answer { packet } => Step::Tell {
            packet: Shown::from(packet),
            lost: None,
        },
        seen::Station::Queue { port, path } => Step::Queue {
            interface: port.clone(),
            path: asked_for(path),
        },
        seen::Station::End(_) => return None,
    })
}

/// The disciplines and classes that a packet was put into.
pub(super) fn queue(stations: &[seen::Station]) -> Vec<String> {
    let found = stations.iter().find_map(|station| match station {
        seen::Station::Queue { path, .. } => Some(asked_for(path)),
        _ => None,
    });
    found.unwrap_or_default()
}

/// The queue that is there without being asked for has no number.
fn asked_for(path: &[String]) -> Vec<String> {
    path.iter().filter(|handle| *handle != "0:").cloned().collect()
}

/// Why the gateway stopped a packet; `None` when it did not.
pub(super) fn reason(stations: &[seen::Station], steps: &[Step]) -> Option<Reason> {
    let outcome = stations.iter().rev().find_map(|station| match station {
        seen::Station::End(outcome) => Some(outcome),
        _ => None,
    })?;
    let name = match outcome {
        Outcome::Sent { .. } | Outcome::Delivered => return None,
        Outcome::Dropped { reason } => reason,
        Outcome::Fragment => "fragment",
        Outcome::Queued => "queue",
        Outcome::Stolen => "stolen",
    };
    let banned = steps.iter().find_map(|step| match step {
        Step::Guard { ban: Some(network), .. } => Some(*network),
        _ => None,
    });
    if let Some(network) = banned {
        return Some(Reason::Banned { network });
    }
    let last = steps.iter().rev().find_map(|step| match step {
        Step::Table { origin, .. } => Some(origin.clone()),
        _ => None,
    });
    Some(match (name, last.flatten()) {
        ("rule", Some(origin)) => Reason::Rule { origin },
        ("policy", _) => Reason::Rule { origin: Origin::NoRule },
        (name, _) => Reason::Gateway { name: name.to_owned() },
    })
}

fn ends(end: &Endpoint) -> String {
    match (end.port, end.address) {
        (0, address) => address.to_string(),
        (port, IpAddr::V4(_) | IpAddr::V6(_)) => SocketAddr::new(end.address, port).to_string(),
    }
}
