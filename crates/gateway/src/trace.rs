//! A packet's stations, for who asks why it passed or not.

use std::collections::VecDeque;
use std::net::IpAddr;

use fielato_netfilter::{Hook, Now};
use fielato_wire::{Headers, number};
use ipnet::IpNet;
use serde::Serialize;

use crate::PortId;
use crate::config::PortKind;

/// Most stations that wait to be drained.
const EVENTS: usize = 4096;

/// What the headers of a packet say at a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// Source port, where the protocol has ports.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Type and code of an ICMP or ICMPv6 packet.
    pub icmp: Option<(u8, u8)>,
    /// Length in bytes, from the IP header.
    pub length: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
}

impl Summary {
    pub(crate) fn of(headers: &Headers, length: usize) -> Summary {
        let has_ports = matches!(
            headers.protocol,
            number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
        ) && headers.l4_whole;
        let is_icmp = matches!(headers.protocol, number::ICMP | number::ICMPV6) && headers.l4_whole;
        Summary {
            source: headers.src.to_ip(headers.family),
            destination: headers.dst.to_ip(headers.family),
            protocol: headers.protocol,
            source_port: has_ports.then_some(headers.sport),
            destination_port: has_ports.then_some(headers.dport),
            icmp: is_icmp.then_some((headers.icmp_type, headers.icmp_code)),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            ttl: headers.ttl,
            tos: headers.tos,
        }
    }
}

/// The guard's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardVerdict {
    /// It let the packet pass, and counted its source.
    Passed,
    /// It is turned off.
    Off,
    /// The source is in this banned network.
    Banned(IpNet),
    /// The source sent too much.
    Limited,
}

/// What of a chain the packet met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// A rule held for it.
    Rule,
    /// The end of a chain that was jumped to.
    Return,
    /// The end of a built-in chain: its policy decides.
    Policy,
}

/// A connection's state, as `-m conntrack --ctstate` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "netfilter's names say it")]
pub enum State {
    New,
    Established,
    Related,
    Invalid,
    Untracked,
}

/// An address and a port of it, or an ICMP identifier; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// Where the route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteVerdict {
    /// To the hub itself.
    Local,
    /// Out by a port.
    Out {
        /// The port's name.
        port: String,
        /// The next hop; none when the destination is on the port's link.
        via: Option<IpAddr>,
        /// The table that had the route.
        table: u32,
    },
    /// Nowhere: the reason's name.
    Refused(&'static str),
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was queued to leave by a port.
    Sent {
        /// The port's name.
        port: String,
    },
    /// It was delivered to the hub's own stack.
    Delivered,
    /// It was dropped.
    Dropped {
        /// The reason's name ([`crate::DropReason::name`]).
        reason: &'static str,
    },
    /// It waits for the rest of its datagram.
    Fragment,
    /// It waits for a queue's handler.
    Queued,
    /// A rule's target kept it.
    Stolen,
}

/// One thing that a packet meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "station", rename_all = "kebab-case")]
pub enum Station {
    /// It came by a port.
    Received {
        /// The port's name.
        port: String,
        /// What the port is.
        kind: PortKind,
        /// The packet; none when its headers make no sense.
        packet: Option<Summary>,
    },
    /// It met the guard.
    Guard {
        /// The verdict.
        verdict: GuardVerdict,
    },
    /// It met a rule, or the end of a chain.
    Rule {
        /// The hook, by its chain's name: `FORWARD`.
        hook: &'static str,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// What of the chain.
        met: Met,
        /// The rule's number in its chain, from 1; at the end one more than there are.
        number: u32,
        /// The rule's target, or the policy.
        target: String,
        /// The rule's comment.
        comment: Option<String>,
    },
    /// Connection tracking's opinion.
    Connection {
        /// State.
        state: State,
        /// Whether it goes against the connection's first packet.
        reply: bool,
        /// The connection's first packet's ends: source and destination. None when there is no connection.
        original: Option<(Endpoint, Endpoint)>,
    },
    /// An end was rewritten.
    Nat {
        /// It was the source; else the destination.
        is_source: bool,
        /// Before.
        before: Endpoint,
        /// After.
        after: Endpoint,
    },
    /// A route was chosen.
    Route {
        /// Which.
        verdict: RouteVerdict,
    },
    /// An answer was made: an ICMP error, or a TCP reset.
    Answer {
        /// The answer.
        packet: Summary,
    },
    /// It was put into a queue.
    Queue {
        /// The port's name.
        port: String,
        /// Disciplines and classes from the root down, as tc writes them.
        path: Vec<String>,
    },
    /// Its way ended.
    End(Outcome),
}

/// Which packets are traced. What isn't said matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// The port it comes by.
    pub port: Option<PortId>,
    /// Where it comes from.
    pub source: Option<IpNet>,
    /// Where it goes.
    pub destination: Option<IpNet>,
    /// Transport protocol.
    pub protocol: Option<u8>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Packets the other way are traced, too.
    pub both_ways: bool,
}

impl TraceFilter {
    pub(crate) fn matches(&self, port: PortId, packet: &Summary) -> bool {
        let TraceFilter {
            port: by,
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            both_ways,
        } = self;
        let is = |wanted: &Option<u16>, port: Option<u16>| wanted.is_none_or(|wanted| port == Some(wanted));
        let within = |net: &Option<IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        let way = |from, from_port, to, to_port| {
            within(source, from) && within(destination, to) && is(source_port, from_port) && is(destination_port, to_port)
        };
        let ahead = (packet.source, packet.source_port);
        let back = (packet.destination, packet.destination_port);
        by.is_none_or(|by| by == port)
            && protocol.is_none_or(|protocol| protocol == packet.protocol)
            && (way(ahead.0, ahead.1, back.0, back.1) || *both_ways && way(back.0, back.1, ahead.0, ahead.1))
    }
}

/// A real packet's stations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traced {
    /// Number of the packet among those traced since [`crate::Gateway::start_trace`], from 1.
    pub number: u64,
    /// The time of day when it came, in nanoseconds.
    pub wall: u64,
    /// What it met.
    pub stations: Vec<Station>,
}

/// The tracing that is on.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    filter: Option<TraceFilter>,
    left: u32,
    number: u64,
    events: VecDeque<Traced>,
}

impl Tracer {
    pub(crate) fn start(&mut self, filter: TraceFilter, limit: u32) {
        (self.filter, self.left, self.number) = ((limit > 0).then_some(filter), limit, 0);
    }

    pub(crate) fn stop(&mut self) {
        self.filter = None;
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.filter.is_some()
    }

    pub(crate) fn wants(&self, port: PortId, packet: &[u8]) -> bool {
        let Some(filter) = &self.filter else {
            return false;
        };
        Headers::parse(packet).is_ok_and(|headers| filter.matches(port, &Summary::of(&headers, packet.len())))
    }

    pub(crate) fn note(&mut self, stations: Vec<Station>, now: Now) {
        self.number += 1;
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.filter = None;
        }
        if self.events.len() < EVENTS {
            self.events.push_back(Traced {
                number: self.number,
                wall: now.wall,
                stations,
            });
        }
    }

    pub(crate) fn drain(&mut self) -> Vec<Traced> {
        self.events.drain(..).collect()
    }
}

/// The parts of `TABLE:CHAIN:rule:NUMBER`.
pub(crate) fn parse_place(place: &str) -> Option<(&str, &str, Met, u32)> {
    let mut parts = place.rsplitn(3, ':');
    let number = parts.next()?.parse().ok()?;
    let met = match parts.next()? {
        "rule" => Met::Rule,
        "return" => Met::Return,
        "policy" => Met::Policy,
        _ => return None,
    };
    // A chain's name may hold a colon, a table's doesn't.
    let (table, chain) = parts.next()?.split_once(':')?;
    Some((table, chain, met, number))
}

pub(crate) const fn hook_name(hook: Hook) -> &'static str {
    hook.chain()
}
