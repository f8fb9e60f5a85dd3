//! The hub's end: who is connected, who enforces which revision, and what each is to be told.
//!
//! A host can only ever be given its own plan: connections are filed under the overlay address that they come from, and nothing that is
//! said on one is about another host. Whoever breaks the rules is told why, cut off, and kept away for a while that doubles each
//! time; each of it is an [`Event`].

mod connection;
mod event;
mod history;
mod limits;
mod status;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fielato_policy::HostPlan;
use fielato_wireguard::PublicKey;
use jiff::Timestamp;

use crate::{Delta, Digest, Now, ToHost, ToHub, VERSION, canonical, line};

use connection::{Allowance, Connection};
pub use event::{Event, Happening, Refusal};
use history::History;
pub use limits::Limits;
pub use status::HostStatus;

/// A connection, as whoever has the socket numbers it. No number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// There is something to [send](Hub::outgoing) on this connection.
    Write(ConnectionId),
    /// Send what can be sent at once, then close. The hub has forgotten the connection, and its number means nothing to it any more.
    Close(ConnectionId, Vec<u8>),
    /// Give the host's member this key; then [`Hub::handle_enrolled`].
    Enrol {
        /// Who asks.
        connection: ConnectionId,
        /// The host.
        host: String,
        /// Its new key.
        public_key: PublicKey,
    },
    /// The host did not enrol in time: its member's first key must go.
    EnrolmentOver(String),
}

/// The hub's end of every control connection.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    revision: u64,
    hosts: BTreeMap<String, Host>,
    by_address: HashMap<IpAddr, String>,
    connections: BTreeMap<ConnectionId, Connection>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    /// Events that were not kept because nobody fetched those before.
    lost_events: u64,
}

/// What is known of a host.
#[derive(Debug, Default)]
struct Host {
    addresses: Vec<IpAddr>,
    history: History,
    /// The revision that it enforces, as it has said itself on its present or last connection.
    enforced: Option<u64>,
    /// When the present revision was published, while it is not enforced.
    behind_since: Option<Instant>,
    /// Oldest first.
    connections: Vec<ConnectionId>,
    drift: u64,
    last_seen: Option<Timestamp>,
    failure: Option<String>,
    enrolment: Option<Enrolment>,
    /// Digest of the last token that was used.
    used: Option<Digest>,
    penalty: Option<Penalty>,
    openings: Allowance,
}

#[derive(Debug)]
struct Enrolment {
    secret: Digest,
    until: Timestamp,
}

/// A host that broke the rules is not let in again until then.
#[derive(Debug)]
struct Penalty {
    until: Instant,
    length: Duration,
}

impl Hub {
    /// A hub without hosts. Revisions are the policy store's: they outlive this process.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            revision: 0,
            hosts: BTreeMap::new(),
            by_address: HashMap::new(),
            connections: BTreeMap::new(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            lost_events: 0,
        }
    }

    /// The hosts that there are now, with their overlay addresses. Connections of hosts that are none any more, or come from an address
    /// that is theirs no more, end.
    pub fn set_hosts(&mut self, hosts: &BTreeMap<String, Vec<IpAddr>>, now: Now) {
        self.hosts.retain(|name, _| hosts.contains_key(name));
        self.by_address = HashMap::new();
        for (name, addresses) in hosts {
            self.hosts.entry(name.clone()).or_default().addresses.clone_from(addresses);
            let named = addresses.iter().map(|address| (*address, name.clone()));
            self.by_address.extend(named);
        }
        let foreign: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| self.by_address.get(&connection.from) != Some(&connection.host))
            .map(|(id, _)| *id)
            .collect();
        for id in foreign {
            self.refuse(id, Refusal::NotAHost, now);
        }
    }

    /// A new revision, with the plan of every host. Whoever is connected is told.
    pub fn publish(&mut self, revision: u64, plans: BTreeMap<String, HostPlan>, now: Now) {
        self.revision = revision;
        for (name, plan) in plans {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            host.history.publish(revision, canonical(plan), self.limits.history);
            host.behind_since.get_or_insert(now.instant);
            host.failure = None;
        }
        let newest: Vec<ConnectionId> = self
            .hosts
            .values()
            .filter_map(|host| host.connections.last())
            .copied()
            .collect();
        for id in newest {
            self.advance(id, now);
        }
    }

    /// Lets `host` take a key of its own once, with the token that has this digest, until then.
    pub fn expect_enrolment(&mut self, host: &str, secret: Digest, until: Timestamp) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.enrolment = Some(Enrolment { secret, until });
        }
    }

    /// Somebody has connected.
    pub fn handle_open(&mut self, id: ConnectionId, from: IpAddr, now: Now) {
        let from = from.to_canonical();
        let Some((name, host)) = self
            .by_address
            .get(&from)
            .and_then(|name| Some((name, self.hosts.get_mut(name)?)))
        else {
            self.event(None, from, Happening::Refused(Refusal::NotAHost), now);
            self.outputs.push_back(Output::Close(id, Vec::new()));
            return;
        };
        if host.penalty.as_ref().is_some_and(|penalty| penalty.until > now.instant) {
            // Nothing is noted: the offence was, and a flood of connections must not become a flood of events.
            self.outputs.push_back(Output::Close(id, Vec::new()));
            return;
        }
        let surplus = match host.connections.len() >= self.limits.connections {
            true => host.connections.first().copied(),
            false => None,
        };
        host.connections.push(id);
        let may = host.openings.take(self.limits.openings, 1, now.instant);
        self.connections.insert(id, Connection::new(name.clone(), from, now.instant));
        if let Some(oldest) = surplus {
            self.supersede(oldest, now);
        }
        if !may {
            self.refuse(id, Refusal::TooFast, now);
        }
    }

    /// Bytes have come.
    pub fn handle_bytes(&mut self, id: ConnectionId, bytes: &[u8], now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let lines = match connection.lines.push(bytes, now.instant) {
            Ok(lines) => lines,
            Err(_) => return self.refuse(id, Refusal::Oversized, now),
        };
        for text in lines {
            // An earlier line may have ended the connection.
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            if !connection.may_say(&self.limits, now.instant) {
                return self.refuse(id, Refusal::TooFast, now);
            }
            connection.heard = now.instant;
            match serde_json::from_slice(&text) {
                Ok(message) => self.handle_message(id, message, now),
                Err(_) => self.refuse(id, Refusal::NotUnderstood, now),
            }
        }
    }

    /// The other end has closed, or the connection broke.
    pub fn handle_closed(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.forget(id) {
            let Connection { host, from, greeted, .. } = connection;
            if greeted {
                self.event(Some(host), from, Happening::Gone, now);
            }
        }
    }

    /// What is to be sent on a connection.
    pub fn outgoing(&self, id: ConnectionId) -> &[u8] {
        self.connections.get(&id).map_or(&[], |connection| &connection.outgoing)
    }

    /// So many bytes of it have been sent.
    pub fn handle_sent(&mut self, id: ConnectionId, len: usize, now: Now) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.sent(len, now.instant);
        }
    }

    /// When [`Hub::handle_time`] has something to do at the latest; `None` while nobody is connected and nobody is to enrol.
    pub fn next_time(&self, now: Now) -> Option<Instant> {
        let waiting = !self.connections.is_empty() || self.hosts.values().any(|host| host.enrolment.is_some());
        waiting.then(|| now.instant + self.limits.tick)
    }

    /// Ends what takes too long, and asks the silent whether they are there.
    pub fn handle_time(&mut self, now: Now) {
        let mut late = Vec::new();
        for (id, connection) in &mut self.connections {
            if let Some(refusal) = connection.overdue(&self.limits, now.instant) {
                late.push((*id, refusal));
            } else if connection.is_to_be_asked(&self.limits, now.instant) {
                connection.send(&line(&ToHost::Ping), now.instant);
                self.outputs.push_back(Output::Write(*id));
            }
        }
        for (id, refusal) in late {
            self.refuse(id, refusal, now);
        }
        for (name, host) in &mut self.hosts {
            if host.enrolment.as_ref().is_some_and(|enrolment| enrolment.until <= now.clock) {
                host.enrolment = None;
                self.outputs.push_back(Output::EnrolmentOver(name.clone()));
            }
        }
    }

    /// The key of [`Output::Enrol`] is in force, or why it is not.
    pub fn handle_enrolled(&mut self, id: ConnectionId, result: Result<(), String>, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match result {
            Ok(()) => {
                let (host, from) = (connection.host.clone(), connection.from);
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.used = host.enrolment.take().map(|enrolment| enrolment.secret);
                }
                self.event(Some(host), from, Happening::Enrolled, now);
                self.say(id, &ToHost::Enrolled, now);
            }
            Err(why) => self.refuse(id, Refusal::NotEnrolled(why), now),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Hub::poll_event`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What has happened, for the audit log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every host as it is now.
    pub fn status(&self, now: Now) -> Vec<HostStatus> {
        let status = |(name, host): (&String, &Host)| host.status(name, self.revision, &self.connections, now);
        self.hosts.iter().map(status).collect()
    }

    fn handle_message(&mut self, id: ConnectionId, message: ToHub, now: Now) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(host) = self.hosts.get_mut(&connection.host) else {
            return;
        };
        host.last_seen = Some(now.clock);
        if host.enrolment.is_some() && !matches!(message, ToHub::Enrol { .. } | ToHub::Pong) {
            // Whoever has the token's key is not yet proven to be the host.
            return self.refuse(id, Refusal::EnrolFirst, now);
        }
        if !connection.greeted && !matches!(message, ToHub::Hello { .. } | ToHub::Enrol { .. }) {
            return self.refuse(id, Refusal::NotGreeted, now);
        }
        match message {
            ToHub::Hello {
                version,
                host: claimed,
                revision,
                digest,
            } => {
                if version != VERSION {
                    return self.refuse(id, Refusal::Version(version), now);
                }
                if let Some(claimed) = claimed.filter(|claimed| *claimed != connection.host) {
                    return self.refuse(id, Refusal::AnothersPlan(event::tame(&claimed)), now);
                }
                self.handle_hello(id, revision.zip(digest), now);
            }
            ToHub::Ack { revision, digest } => self.handle_ack(id, revision, &digest, now),
            ToHub::Failed { revision, why } => {
                if connection.in_flight.as_ref().map(|(sent, _)| *sent) != Some(revision) {
                    return self.refuse(id, Refusal::NeverSent(revision), now);
                }
                let why = event::tame(&why);
                host.failure = Some(why.clone());
                self.happened(id, Happening::Failed { revision, why }, now);
                // Not sent again by itself: the agent asks, or a new revision comes.
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.in_flight = None;
                    connection.stuck = Some(revision);
                }
                self.advance(id, now);
            }
            ToHub::Drift { what } => {
                host.drift = host.drift.saturating_add(1);
                self.happened(id, Happening::Drift(event::tame(&what)), now);
            }
            ToHub::Enrol {
                version,
                token,
                public_key,
            } => match version == VERSION {
                true => self.handle_enrol(id, &Digest::of_bytes(token.as_bytes()), public_key, now),
                false => self.refuse(id, Refusal::Version(version), now),
            },
            ToHub::Pong => {}
        }
    }

    fn handle_hello(&mut self, id: ConnectionId, enforced: Option<(u64, Digest)>, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(&connection.host) else {
            return;
        };
        let known = enforced.filter(|(revision, digest)| host.history.at(*revision).is_some_and(|(_, known)| known == digest));
        connection.base = known.map(|(revision, _)| revision);
        connection.in_flight = None;
        connection.stuck = None;
        host.enforced = connection.base;
        let first = !std::mem::replace(&mut connection.greeted, true);
        if host.enforced == Some(self.revision) {
            host.behind_since = None;
        }
        if first {
            self.happened(id, Happening::Connected, now);
            // The newer wins: an agent that was cut off without noticing comes again while the old connection still stands.
            let older = |other: &&ConnectionId| **other != id;
            let host = self
                .connections
                .get(&id)
                .and_then(|connection| self.hosts.get(&connection.host));
            let older: Vec<ConnectionId> =
                host.map_or_else(Vec::new, |host| host.connections.iter().filter(older).copied().collect());
            for other in older {
                self.supersede(other, now);
            }
        }
        self.advance(id, now);
    }

    fn handle_ack(&mut self, id: ConnectionId, revision: u64, digest: &Digest, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match &connection.in_flight {
            Some((sent, expected)) if *sent == revision && expected == digest => {}
            Some((sent, _)) if *sent == revision => return self.refuse(id, Refusal::AnothersDigest(revision), now),
            _ => return self.refuse(id, Refusal::NeverSent(revision), now),
        }
        connection.in_flight = None;
        connection.base = Some(revision);
        if let Some(host) = self.hosts.get_mut(&connection.host) {
            host.enforced = Some(revision);
            host.penalty = None;
            if revision == self.revision {
                host.behind_since = None;
            }
        }
        self.happened(id, Happening::Enforced(revision), now);
        self.advance(id, now);
    }

    fn handle_enrol(&mut self, id: ConnectionId, secret: &Digest, public_key: PublicKey, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(&connection.host) else {
            return;
        };
        let refusal = match &host.enrolment {
            None if host.used.as_ref() == Some(secret) => Refusal::TokenUsed,
            None => Refusal::NoToken,
            Some(enrolment) if enrolment.secret != *secret => Refusal::NoToken,
            Some(enrolment) if enrolment.until <= now.clock => Refusal::TokenOver,
            Some(_) if connection.enrolling => Refusal::TokenUsed,
            Some(_) => {
                connection.enrolling = true;
                let host = connection.host.clone();
                return self.outputs.push_back(Output::Enrol {
                    connection: id,
                    host,
                    public_key,
                });
            }
        };
        self.refuse(id, refusal, now);
    }

    /// Tells a host the newest plan, unless it knows or is still at work on what it was told last.
    fn advance(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(host) = self.hosts.get(&connection.host) else {
            return;
        };
        let busy = connection.in_flight.is_some() || !connection.greeted || host.enrolment.is_some();
        let known = connection.base == Some(self.revision) || connection.stuck == Some(self.revision);
        if busy || known {
            return;
        }
        let Some((plan, digest)) = host.history.at(self.revision) else {
            return;
        };
        let base = connection.base.and_then(|from| Some((from, host.history.at(from)?)));
        let message = match base {
            Some((from, (old, _))) => ToHost::Delta {
                from,
                to: self.revision,
                digest: digest.clone(),
                delta: Box::new(if Arc::ptr_eq(old, plan) {
                    Delta::default()
                } else {
                    Delta::between(old, plan)
                }),
            },
            None => ToHost::Full {
                revision: self.revision,
                digest: digest.clone(),
                plan: Box::new(HostPlan::clone(plan)),
            },
        };
        connection.in_flight = Some((self.revision, digest.clone()));
        self.say(id, &message, now);
    }

    fn say(&mut self, id: ConnectionId, message: &ToHost, now: Now) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.send(&line(message), now.instant);
            self.outputs.push_back(Output::Write(id));
        }
    }

    /// Ends a connection whose other end broke the rules, and keeps the host away for a while.
    fn refuse(&mut self, id: ConnectionId, refusal: Refusal, now: Now) {
        let Some(connection) = self.connections.get(&id) else { return };
        if let Some(host) = self.hosts.get_mut(&connection.host).filter(|_| refusal.is_offence()) {
            let length = host
                .penalty
                .as_ref()
                .map_or(self.limits.penalty, |penalty| penalty.length * 2);
            let length = length.min(self.limits.penalty_max);
            host.penalty = Some(Penalty {
                until: now.instant + length,
                length,
            });
        }
        self.close(id, Some(Happening::Refused(refusal)), now);
    }

    /// A newer connection takes this one's place. One that has not said hello is not worth an event.
    fn supersede(&mut self, id: ConnectionId, now: Now) {
        let greeted = self.connections.get(&id).is_some_and(|connection| connection.greeted);
        self.close(id, greeted.then_some(Happening::Superseded), now);
    }

    /// Forgets a connection; what still has to be said goes with the order to close it.
    fn close(&mut self, id: ConnectionId, why: Option<Happening>, now: Now) {
        let Some(connection) = self.forget(id) else { return };
        let Connection {
            host,
            from,
            mut outgoing,
            ..
        } = connection;
        match &why {
            // It does not read anyway.
            Some(Happening::Refused(Refusal::SlowReader)) => outgoing.clear(),
            Some(Happening::Refused(refusal)) => outgoing.extend(line(&ToHost::Refused {
                why: refusal.to_string(),
            })),
            _ => {}
        }
        self.outputs.push_back(Output::Close(id, outgoing));
        if let Some(happening) = why {
            self.event(Some(host), from, happening, now);
        }
    }

    fn forget(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(host) = self.hosts.get_mut(&connection.host) {
            host.connections.retain(|other| *other != id);
        }
        Some(connection)
    }

    fn happened(&mut self, id: ConnectionId, what: Happening, now: Now) {
        if let Some(Connection { host, from, .. }) = self.connections.get(&id) {
            let (host, from) = (host.clone(), *from);
            self.event(Some(host), from, what, now);
        }
    }

    fn event(&mut self, host: Option<String>, from: IpAddr, what: Happening, now: Now) {
        if self.events.len() >= self.limits.events {
            self.lost_events = self.lost_events.saturating_add(1);
            return;
        }
        let lost = std::mem::take(&mut self.lost_events);
        self.events.push_back(Event {
            at: now.clock,
            host,
            from,
            what,
            lost,
        });
    }
}
