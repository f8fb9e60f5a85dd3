//! What the gateway says of a packet, in the words in which the kernel's traces are told.

use std::net::SocketAddr;
use std::time::Duration;

use fielato_gateway::PortKind;
use fielato_gateway::trace::{Endpoint, GuardVerdict, Met, Outcome, RouteVerdict, State, Station, Summary};
use fielato_wire::number;
use jiff::Timestamp;

use super::report::{Ends, Left, LivePacket, LiveStation, LiveVerdict};
use super::rules;
use crate::protocol::VERSION;

/// A packet's way through the gateway. `lines` are the lines of the configuration's rules, in order. `None` for what is no packet.
pub(super) fn tell(at: Duration, stations: &[Station], lines: &[usize]) -> Option<LivePacket> {
    let received = stations.iter().find_map(|station| match station {
        Station::Received {
            port,
            kind,
            packet: Some(packet),
        } => Some((port, *kind, packet)),
        _ => None,
    });
    let (port, kind, summary) = received?;
    let packet = ends(summary);
    let mut met = Vec::new();
    let mut decided = None;
    let mut now = packet.clone();
    for station in stations {
        if let Station::Nat {
            is_source,
            before: _,
            after,
        } = station
        {
            rewrite(&mut now, *is_source, after);
        }
        let Some(told) = station_of(station, lines) else { continue };
        // That nothing else stopped it is no reason: whether it passes is decided where it is forwarded or let in.
        if let Station::Rule {
            comment, hook, target, ..
        } = station
            && (matches!(*hook, "FORWARD" | "INPUT") || target != "ACCEPT")
        {
            decided = Some((told.clone(), comment.clone()));
        }
        met.push(told);
    }
    let (verdict, left, reason) = end(stations, decided.as_ref(), &now);
    Some(LivePacket {
        version: VERSION,
        at: timestamp(at),
        packet,
        interface: (kind != PortKind::Host).then(|| port.clone()),
        stations: met,
        verdict,
        reason,
        left,
    })
}

fn end(stations: &[Station], decided: Option<&(LiveStation, Option<String>)>, now: &Ends) -> (LiveVerdict, Option<Left>, String) {
    let rule = || rules::reason(decided.map(|(station, comment)| (station, comment.as_deref())));
    let outcome = stations.iter().rev().find_map(|station| match station {
        Station::End(outcome) => Some(outcome),
        _ => None,
    });
    match outcome {
        Some(Outcome::Sent { port }) => {
            let left = Left {
                interface: port.clone(),
                packet: now.clone(),
            };
            (LiveVerdict::Passed, Some(left), rule())
        }
        Some(Outcome::Delivered) => (LiveVerdict::Passed, None, rule()),
        // The reasons of rules and policies; all others have names that say it.
        Some(Outcome::Dropped {
            reason: "rule" | "policy",
        }) => (LiveVerdict::Dropped, None, rule()),
        Some(Outcome::Dropped { reason }) => (LiveVerdict::Dropped, None, (*reason).to_owned()),
        Some(Outcome::Fragment) => (LiveVerdict::Lost, None, "waits for the rest of its datagram".to_owned()),
        Some(Outcome::Queued) => (LiveVerdict::Lost, None, "waits for a queue's handler".to_owned()),
        Some(Outcome::Stolen) => (LiveVerdict::Lost, None, "a rule's target kept it".to_owned()),
        None => (LiveVerdict::Lost, None, "its end was not told".to_owned()),
    }
}

fn station_of(station: &Station, lines: &[usize]) -> Option<LiveStation> {
    let at = |place: &str, verdict: String| LiveStation {
        place: place.to_owned(),
        verdict,
        ..LiveStation::default()
    };
    Some(match station {
        Station::Guard { verdict } => match verdict {
            GuardVerdict::Off => return None,
            GuardVerdict::Passed => at("guard", "pass".into()),
            GuardVerdict::Banned(network) => at("guard", format!("banned with {network}")),
            GuardVerdict::Limited => at("guard", "over the limit of its source".into()),
        },
        Station::Rule {
            hook: _,
            table,
            chain,
            met,
            number,
            target,
            comment,
        } => {
            // The policy of a chain without rules decides nothing that anybody asked for.
            if *met == Met::Return || (*met == Met::Policy && *number <= 1) {
                return None;
            }
            LiveStation {
                rule: (*met == Met::Rule).then(|| comment.clone().unwrap_or_else(|| format!("rule {number} of the chain"))),
                lines: comment
                    .as_deref()
                    .map(|comment| rules::lines(comment, lines))
                    .unwrap_or_default(),
                ..at(&format!("{table} {chain}"), target.to_lowercase())
            }
        }
        Station::Connection { state, reply, .. } => {
            let state = match state {
                State::New => "new",
                State::Established => "established",
                State::Related => "related",
                State::Invalid => "invalid",
                State::Untracked => "untracked",
            };
            let way = if *reply { ", an answer" } else { "" };
            at("connection", format!("{state}{way}"))
        }
        Station::Nat {
            is_source,
            before,
            after,
        } => {
            let side = if *is_source { "source" } else { "destination" };
            at("nat", format!("{side} {} becomes {}", socket(before), socket(after)))
        }
        Station::Route { verdict } => at(
            "route",
            match verdict {
                RouteVerdict::Local => "to this machine".into(),
                RouteVerdict::Out { port, via: None, .. } => format!("out by {port}"),
                RouteVerdict::Out {
                    port, via: Some(via), ..
                } => format!("out by {port}, via {via}"),
                RouteVerdict::Refused(reason) => (*reason).to_owned(),
            },
        ),
        Station::Answer { packet } => at("answer", ends(packet).to_string()),
        Station::Queue { port, path } => at("queue", format!("{port} {}", path.join(" ")).trim_end().to_owned()),
        Station::Received { .. } | Station::End(_) => return None,
    })
}

fn rewrite(packet: &mut Ends, is_source: bool, after: &Endpoint) {
    let (address, port) = match is_source {
        true => (&mut packet.source, &mut packet.source_port),
        false => (&mut packet.destination, &mut packet.destination_port),
    };
    *address = after.address;
    *port = port.map(|_| after.port);
}

fn ends(summary: &Summary) -> Ends {
    Ends {
        source: summary.source,
        destination: summary.destination,
        protocol: match summary.protocol {
            number::TCP => "tcp".into(),
            number::UDP => "udp".into(),
            number::ICMP => "icmp".into(),
            number::ICMPV6 => "icmpv6".into(),
            other => other.to_string(),
        },
        source_port: summary.source_port,
        destination_port: summary.destination_port,
        length: summary.length,
    }
}

fn socket(end: &Endpoint) -> String {
    match end.port {
        0 => end.address.to_string(),
        port => SocketAddr::new(end.address, port).to_string(),
    }
}

/// A time since 1970.
pub(super) fn timestamp(at: Duration) -> Timestamp {
    i128::try_from(at.as_nanos())
        .ok()
        .and_then(|nanos| Timestamp::from_nanosecond(nanos).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Station {
        Station::Received {
            port: "wg0".into(),
            kind: PortKind::Tunnel,
            packet: Some(Summary {
                source: [192, 168, 4, 2].into(),
                destination: [10, 8, 0, 5].into(),
                protocol: number::UDP,
                source_port: Some(4000),
                destination_port: Some(53),
                icmp: None,
                length: 60,
                ttl: 63,
                tos: 0,
            }),
        }
    }

    fn rule(met: Met, number: u32, target: &str, comment: Option<&str>) -> Station {
        Station::Rule {
            hook: "FORWARD",
            table: "filter".into(),
            chain: "FORWARD".into(),
            met,
            number,
            target: target.into(),
            comment: comment.map(str::to_owned),
        }
    }

    #[test]
    fn ways_are_told_with_the_rule_that_decided() {
        let way = |end: &[Station]| {
            let stations = [&[received()], end].concat();
            tell(Duration::from_secs(1), &stations, &[30, 40]).unwrap()
        };
        let nat = Station::Nat {
            is_source: true,
            before: Endpoint {
                address: [192, 168, 4, 2].into(),
                port: 4000,
            },
            after: Endpoint {
                address: [10, 8, 0, 1].into(),
                port: 5000,
            },
        };
        let passed = way(&[
            rule(Met::Policy, 1, "ACCEPT", None),
            rule(Met::Rule, 7, "ACCEPT", Some("rule 2")),
            nat,
            Station::End(Outcome::Sent { port: "eth0".into() }),
        ]);
        assert_eq!(passed.verdict, LiveVerdict::Passed);
        assert_eq!(passed.stations.len(), 2, "{passed}");
        assert_eq!(
            passed.sentence(),
            "passed: rule 2, line 40 of the configuration (filter FORWARD); left by eth0 as 10.8.0.1:5000 > 10.8.0.5:53"
        );
        for (reason, end, sentence) in [
            (
                "policy",
                rule(Met::Policy, 9, "DROP", None),
                "dropped: the chain's policy (filter FORWARD)",
            ),
            (
                "rule",
                rule(Met::Rule, 9, "DROP", Some("no rule")),
                "dropped: no rule (filter FORWARD)",
            ),
            (
                "banned",
                Station::Guard {
                    verdict: GuardVerdict::Banned("192.168.4.0/24".parse().unwrap()),
                },
                "dropped: banned",
            ),
        ] {
            let dropped = way(&[end, Station::End(Outcome::Dropped { reason })]);
            assert_eq!(
                (dropped.verdict, dropped.sentence().as_str()),
                (LiveVerdict::Dropped, sentence)
            );
        }
        assert_eq!(way(&[]).verdict, LiveVerdict::Lost);
        assert_eq!(tell(Duration::ZERO, &[], &[]), None);
    }
}
