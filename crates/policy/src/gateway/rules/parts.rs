//! What a rule asks for, in netfilter's terms.

use fielato_netfilter::host::AddressType;
use fielato_netfilter::interface::MAX_NAME;
use fielato_netfilter::matches::addrtype::{AddressTypes, Addrtype};
use fielato_netfilter::matches::conntrack::{Conntrack, Criteria, StateMatch, States};
use fielato_netfilter::matches::limit::Limit;
use fielato_netfilter::matches::multiport::{Multiport, PortSide};
use fielato_netfilter::matches::set::{Parameters, Set, Sides};
use fielato_netfilter::matches::{Range, sctp, tcp, udp};
use fielato_netfilter::rule::{AddressMatch, InterfaceMatch, IpMatch, ProtocolMatch};
use fielato_netfilter::{InterfaceName, Match};
use fielato_wire::{Addr, Family, TcpFlags};
use ipnet::IpNet;

use crate::config::{PortSpec, Protocol, Rate};

/// What a rule asks for.
#[derive(Clone, Default)]
pub(super) struct Parts {
    pub ip: IpMatch,
    pub matches: Vec<Match>,
}

impl Parts {
    pub fn coming_by(mut self, name: &str, negated: bool) -> Parts {
        self.ip.in_interface = interface(name, negated);
        self
    }

    pub fn leaving_by(mut self, name: &str, negated: bool) -> Parts {
        self.ip.out_interface = interface(name, negated);
        self
    }

    pub fn side(mut self, end: End, side: &Side) -> Parts {
        match side {
            Side::Any => {}
            Side::Net { net, negated } => {
                let place = match end {
                    End::Source => &mut self.ip.source,
                    End::Destination => &mut self.ip.destination,
                };
                *place = address(net, *negated);
            }
            Side::Set { name, negated } => self.matches.push(in_set(name, end, *negated)),
        }
        self
    }

    pub fn ports(mut self, ports: &PortMatch) -> Parts {
        if let Some((protocol, m)) = ports {
            self.ip.protocol = ProtocolMatch {
                number: *protocol,
                negated: false,
            };
            self.matches.push(m.clone());
        }
        self
    }

    /// Its destination was translated.
    pub fn translated(mut self) -> Parts {
        self.matches.push(Match::Conntrack(Conntrack {
            state: Some(StateMatch {
                states: States(States::DNAT),
                negated: false,
            }),
            criteria: None,
        }));
        self
    }

    /// For an address of this machine's own.
    pub fn for_this_machine(mut self) -> Parts {
        self.matches.push(Match::Addrtype(Addrtype {
            destination: AddressTypes {
                mask: 1 << AddressType::Local as u16,
                negated: false,
            },
            ..Addrtype::default()
        }));
        self
    }

    /// Within a rate.
    pub fn within(mut self, rate: &Rate) -> Parts {
        self.matches.push(Match::Limit(Limit {
            interval: rate.interval(),
            burst: rate.burst,
        }));
        self
    }

    /// TCP, and not a connection's first packet.
    pub fn within_a_connection(self) -> Parts {
        let later = tcp::Tcp {
            flags_mask: TcpFlags::FIN | TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK,
            flags: TcpFlags::SYN,
            flags_negated: true,
            ..tcp::Tcp::default()
        };
        self.ports(&Some((Protocol::Tcp.number(), Match::Tcp(later))))
    }

    /// Connection tracking knows it, and not as this protocol.
    pub fn connection_but_of(mut self, protocol: Protocol) -> Parts {
        let number = protocol.number();
        let other = Criteria {
            protocol: Some(Range {
                min: number,
                max: number,
                negated: true,
            }),
            ..Criteria::default()
        };
        self.matches.push(Match::Conntrack(Conntrack {
            state: None,
            criteria: Some(Box::new(other)),
        }));
        self
    }

    pub fn state(mut self, states: u8) -> Parts {
        self.matches.push(Match::Conntrack(Conntrack {
            state: Some(StateMatch {
                states: States(states),
                negated: false,
            }),
            criteria: None,
        }));
        self
    }
}

/// An end of a packet.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Source,
    Destination,
}

/// What one end must be.
pub(super) enum Side {
    Any,
    Net { net: IpNet, negated: bool },
    Set { name: String, negated: bool },
}

/// A protocol and its ports; `None` for all protocols.
pub(super) type PortMatch = Option<(u8, Match)>;

/// A match for each protocol and every fifteen ports; one that is none when every port will do.
pub(super) fn port_matches(ports: &[PortSpec]) -> Vec<PortMatch> {
    if ports.is_empty() {
        return vec![None];
    }
    let mut matches = Vec::new();
    for protocol in Protocol::ALL {
        let ranges = joined(ports.iter().filter(|port| port.protocol == protocol));
        for ranges in full_matches(&ranges) {
            matches.push(Some(port_match(protocol, ranges)));
        }
    }
    matches
}

fn port_match(protocol: Protocol, ranges: &[Range<u16>]) -> (u8, Match) {
    let m = match (ranges, protocol) {
        ([one], Protocol::Tcp) => Match::Tcp(tcp::Tcp {
            dport: *one,
            ..tcp::Tcp::default()
        }),
        ([one], Protocol::Udp) => Match::Udp(udp::Udp {
            dport: *one,
            ..udp::Udp::default()
        }),
        ([one], Protocol::Sctp) => Match::Sctp(sctp::Sctp {
            dport: Some(*one),
            ..sctp::Sctp::default()
        }),
        _ => Match::Multiport(Multiport {
            side: PortSide::Destination,
            ports: ranges.into(),
            negated: false,
        }),
    };
    (protocol.number(), m)
}

/// In order, without overlaps or neighbours.
fn joined<'p>(ports: impl Iterator<Item = &'p PortSpec>) -> Vec<Range<u16>> {
    let mut sorted: Vec<(u16, u16)> = ports.map(|port| (port.first, port.last)).collect();
    sorted.sort_unstable();
    let mut ranges: Vec<Range<u16>> = Vec::new();
    for (first, last) in sorted {
        match ranges.last_mut() {
            Some(before) if first <= before.max.saturating_add(1) => before.max = before.max.max(last),
            _ => ranges.push(Range::new(first, last)),
        }
    }
    ranges
}

/// As many at a time as one multiport match takes, in which a range counts twice.
fn full_matches(ranges: &[Range<u16>]) -> impl Iterator<Item = &[Range<u16>]> {
    let mut rest = ranges;
    std::iter::from_fn(move || {
        let mut slots = 0;
        let fits = rest.iter().take_while(|range| {
            slots += if range.min == range.max { 1 } else { 2 };
            slots <= Multiport::MAX
        });
        let (now, later) = rest.split_at(fits.count());
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

fn interface(name: &str, negated: bool) -> InterfaceMatch {
    InterfaceMatch {
        // The configuration lets no longer name pass. Cut, it is no interface's: everything comes from elsewhere.
        name: InterfaceName::new(name.get(..MAX_NAME).unwrap_or(name)).unwrap_or_default(),
        prefix: false,
        negated,
    }
}

fn address(net: &IpNet, negated: bool) -> AddressMatch {
    let family = if net.addr().is_ipv4() { Family::V4 } else { Family::V6 };
    AddressMatch {
        network: net.network().into(),
        mask: Addr::mask(family, net.prefix_len()),
        negated,
    }
}

fn in_set(name: &str, end: End, negated: bool) -> Match {
    Match::Set(Set(Box::new(Parameters {
        name: name.into(),
        negated,
        sides: Sides {
            count: 1,
            source: u8::from(end == End::Source),
        },
        return_nomatch: false,
        keep_counters: true,
        keep_subcounters: true,
        packets: Default::default(),
        bytes: Default::default(),
    })))
}
