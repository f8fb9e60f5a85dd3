//! Stations of packets, for those who follow them.

use fielato_netfilter::conntrack::CtState;
use fielato_netfilter::conntrack::Direction;
use fielato_netfilter::rule::Policy;
use fielato_netfilter::{Effect, Hook, Match, Now, Packet, PacketCt};
use fielato_wire::{Family, Headers};

use super::Gateway;
use crate::config::PortId;
use crate::router::{Decision, DecisionKind};
use crate::trace::{Endpoint, Met, Outcome, RouteVerdict, State, Station, Summary, TraceFilter, Traced, hook_name, parse_place};
use crate::{Buffer, DropReason};

/// A packet's ends as they were when it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    source: Endpoint,
    destination: Endpoint,
    is_local: bool,
}

impl Arrival {
    pub(super) fn of(headers: &Headers, is_local: bool) -> Arrival {
        let (source, destination) = ends(headers);
        Arrival {
            source,
            destination,
            is_local,
        }
    }
}

fn ends(headers: &Headers) -> (Endpoint, Endpoint) {
    let end = |address: fielato_wire::Addr, port| Endpoint {
        address: address.to_ip(headers.family),
        port,
    };
    (end(headers.src, headers.sport), end(headers.dst, headers.dport))
}

impl Gateway {
    /// Traces packets from now on, `limit` of them at most; a filter that was there gives way.
    pub fn start_trace(&mut self, filter: TraceFilter, limit: u32) {
        self.tracer.start(filter, limit);
    }

    /// Traces no more. What was traced waits to be drained.
    pub fn stop_trace(&mut self) {
        self.tracer.stop();
    }

    /// Whether packets are traced still.
    pub const fn is_tracing(&self) -> bool {
        self.tracer.is_on()
    }

    /// What was traced since the last call.
    pub fn drain_events(&mut self) -> Vec<Traced> {
        self.tracer.drain()
    }

    /// [`Gateway::receive`], which says what the packet met. It is a packet like every other: it is counted, may begin a connection
    /// and is queued.
    pub fn receive_traced(&mut self, port: PortId, packet: Buffer, now: Now) -> Vec<Station> {
        self.walk = Some(Vec::new());
        self.router.decisions = Some(Vec::new());
        self.receive_untraced(port, packet, now);
        self.router.decisions = None;
        self.walk.take().unwrap_or_default()
    }

    /// Notes a station, when somebody follows the packet.
    pub(super) fn station(&mut self, station: impl FnOnce(&Gateway) -> Station) {
        if self.walk.is_some() {
            let station = station(self);
            self.walk.iter_mut().for_each(|walk| walk.push(station.clone()));
        }
    }

    pub(super) fn note_received(&mut self, place: usize, packet: &[u8]) {
        self.station(|gateway| {
            let state = &gateway.ports[place];
            let headers = Headers::parse(packet).ok();
            Station::Received {
                port: state.port.name.clone(),
                kind: state.port.kind,
                packet: headers.map(|headers| Summary::of(&headers, packet.len())),
            }
        });
    }

    pub(super) fn note_outcome(&mut self, outcome: Outcome) {
        self.station(|_| Station::End(outcome));
    }

    /// What netfilter and the router made of the packet, in the order in which it met them.
    pub(super) fn note_way(&mut self, arrival: Arrival, packet: &Packet, effects: &[Effect]) {
        if self.walk.is_none() {
            return;
        }
        let mut early = Vec::new();
        let mut late = Vec::new();
        let mut ct = packet.ct;
        let mut answers = Vec::new();
        for effect in effects {
            match effect {
                Effect::Trace { place, hook, packet } => {
                    if let Some(rule) = self.rule_station(packet.headers.family, *hook, place) {
                        let is_early = matches!(hook, Hook::Prerouting | Hook::Output);
                        if is_early { &mut early } else { &mut late }.push((*hook, rule));
                    }
                    if packet.ct != PacketCt::None {
                        ct = packet.ct;
                    }
                }
                Effect::Transmit(answer) | Effect::Send(answer) => {
                    answers.push(Station::Answer {
                        packet: Summary::of(&answer.headers, answer.data.len()),
                    });
                }
                _ => {}
            }
        }
        let (source, destination) = ends(&packet.headers);
        let nat = |is_source, before, after| {
            (before != after).then_some(Station::Nat {
                is_source,
                before,
                after,
            })
        };
        let decision = self
            .router
            .decisions
            .as_ref()
            .and_then(|decisions| decisions.first())
            .copied();
        let route = decision.map(|decision| self.route_station(&decision));
        let connection = self.connection_station(ct, arrival);

        let mut stations: Vec<Station> = Vec::new();
        if arrival.is_local {
            stations.extend(route.clone());
        }
        stations.extend(early.into_iter().map(|(_, station)| station));
        stations.push(connection);
        stations.extend(nat(false, arrival.destination, destination));
        if !arrival.is_local {
            stations.extend(route);
        }
        stations.extend(late.into_iter().map(|(_, station)| station));
        stations.extend(nat(true, arrival.source, source));
        stations.extend(answers);
        self.walk.iter_mut().for_each(|walk| walk.append(&mut stations));
    }

    fn connection_station(&self, ct: PacketCt, arrival: Arrival) -> Station {
        let (state, reply, original) = match ct {
            PacketCt::Tracked { id, state, direction } => {
                let known = self.netfilter.conntrack().get(id).map(|conn| {
                    let tuple = &conn.tuples[0];
                    let end = |address: fielato_wire::Addr, port| Endpoint {
                        address: address.to_ip(tuple.family),
                        port,
                    };
                    let has_ports = tuple.has_ports();
                    let port = |port| if has_ports { port } else { 0 };
                    (end(tuple.src, port(tuple.sport)), end(tuple.dst, port(tuple.dport)))
                });
                let state = match state {
                    CtState::New => State::New,
                    CtState::Established => State::Established,
                    CtState::Related => State::Related,
                };
                // A connection that was never confirmed is gone with its packet, which was its first.
                let original = known.unwrap_or((arrival.source, arrival.destination));
                (state, direction == Direction::Reply, Some(original))
            }
            PacketCt::Untracked | PacketCt::AnswersUntracked => (State::Untracked, false, None),
            PacketCt::None => (State::Invalid, false, None),
        };
        Station::Connection { state, reply, original }
    }

    fn route_station(&self, decision: &Decision) -> Station {
        let verdict = match (decision.kind, decision.port) {
            (DecisionKind::Refused(reason), _) => RouteVerdict::Refused(reason.name()),
            (DecisionKind::Forward, Some(port)) => RouteVerdict::Out {
                port: self.port_name(port),
                via: decision.via,
                table: decision.table.unwrap_or(0),
            },
            (DecisionKind::Local | DecisionKind::Forward, _) => RouteVerdict::Local,
        };
        Station::Route { verdict }
    }

    pub(super) fn port_name(&self, id: PortId) -> String {
        let port = self.ports.iter().find(|state| state.port.id == id);
        port.map(|state| state.port.name.clone()).unwrap_or_default()
    }

    fn rule_station(&self, family: Family, hook: Hook, place: &str) -> Option<Station> {
        let (table, chain, met, number) = parse_place(place)?;
        let rules = self.netfilter.chain(family, table, chain);
        let rule = rules.and_then(|chain| chain.rules.get((number as usize).checked_sub(1)?));
        let rule = rule.filter(|_| met == Met::Rule);
        let comment = rule.and_then(|rule| {
            rule.matches.iter().find_map(|one| match one {
                Match::Comment(comment) => Some(comment.text.to_string()),
                _ => None,
            })
        });
        let target = match (met, rule, rules) {
            (Met::Rule, Some(rule), _) => rule.target.name().to_owned(),
            (Met::Return, ..) => "RETURN".to_owned(),
            (Met::Policy, _, Some(chain)) if chain.policy == Some(Policy::Drop) => "DROP".to_owned(),
            _ => "ACCEPT".to_owned(),
        };
        Some(Station::Rule {
            hook: hook_name(hook),
            table: table.to_owned(),
            chain: chain.to_owned(),
            met,
            number,
            target,
            comment,
        })
    }

    pub(super) fn note_drop(&mut self, reason: DropReason) {
        self.note_outcome(Outcome::Dropped { reason: reason.name() });
    }
}
