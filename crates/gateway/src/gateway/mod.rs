//! The composition: what a packet meets between the port it comes by and the one it leaves by.
//!
//! `forward` is a packet's way in, `output` its way out, `swap` replaces the configuration between two packets.

mod forward;
mod link;
mod output;
mod swap;
mod tracing;

use std::collections::VecDeque;
use std::net::IpAddr;

use fielato_netfilter::Netfilter;
use fielato_netfilter::engine::command::Caller;
use fielato_netfilter::{Effect, Interface, Now, conntrack};
use fielato_wire::Family;
use ipnet::IpNet;
use serde::Serialize;

use crate::config::{Config, ConfigError, Port, PortId, PortKind};
use crate::drops::Drops;
use crate::egress::Egress;
use crate::guard::{BanCount, Guard, SourceCount, TooManyBans};
use crate::neighbour::Neighbours;
use crate::router::Router;
use crate::trace::{Station, Tracer};
use crate::{Buffer, DropReason};
pub use swap::Swapped;

/// Connections looked at in one [`Gateway::handle_timeout`], and how often that is due while there are any: seldom when one look
/// is at all of them.
const EXPIRE_BUDGET: usize = 4096;
const EXPIRE_EVERY: u64 = Now::SECOND;
const EXPIRE_EVERY_OF_MANY: u64 = Now::SECOND / 10;

/// A gateway.
pub struct Gateway {
    ports: Vec<PortState>,
    router: Router,
    netfilter: Netfilter,
    guard: Guard,
    drops: Drops,
    /// Packets that come from the host's port and aren't the hub's count as come in by this one.
    foreign: Option<PortId>,
    log: VecDeque<String>,
    log_lines: usize,
    /// The port that is asked first for a packet to send.
    turn: usize,
    /// When connections are looked through next.
    expire_at: u64,
    /// The packet at hand is a copy (TEE).
    copying: bool,
    /// What connections were last judged by.
    judged_by: Option<swap::JudgedBy>,
    /// Names of the sets that the configuration made.
    set_names: Vec<String>,
    effects: Vec<Effect>,
    tracer: Tracer,
    /// What the packet at hand met, when somebody follows it.
    walk: Option<Vec<Station>>,
    rng: fastrand::Rng,
}

/// How much of what is bounded there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Connections, those included that have expired and were not found yet.
    pub connections: usize,
    /// Packets that wait to leave.
    pub waiting: usize,
    /// Neighbours.
    pub neighbours: usize,
    /// Neighbours of these that are being asked for.
    pub neighbours_asked: usize,
    /// Sources that the guard counts.
    pub sources: usize,
    /// Bans.
    pub bans: usize,
    /// Receivers of ICMP errors that are remembered for their limits.
    pub icmp_receivers: usize,
    /// Bytes of connection tracking's tables.
    pub connection_memory: usize,
}

/// A port with what waits to leave by it.
struct PortState {
    port: Port,
    /// As rules see it.
    interface: Interface,
    egress: Egress,
    /// On an Ethernet port.
    neighbours: Option<Neighbours>,
}

impl Gateway {
    /// A gateway. `seed` starts its random generators and keys its hash tables: it must be secret.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: Config, seed: u64, now: Now) -> Result<Gateway, ConfigError> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut gateway = Gateway {
            ports: Vec::new(),
            router: Router::new(&Config::default(), rng.u64(..))?,
            netfilter: Netfilter::new(conntrack::Config::default(), rng.u64(..)),
            guard: Guard::new(&crate::guard::Config::default(), rng.u64(..), now)?,
            drops: Drops::default(),
            foreign: None,
            log: VecDeque::new(),
            log_lines: 0,
            turn: 0,
            expire_at: 0,
            copying: false,
            judged_by: None,
            set_names: Vec::new(),
            effects: Vec::new(),
            tracer: Tracer::default(),
            walk: None,
            rng,
        };
        gateway.swap(config, now)?;
        Ok(gateway)
    }

    /// When there is something to send, or [`Gateway::handle_timeout`] something to do, in nanoseconds of the monotonic clock.
    pub fn poll_timeout(&self) -> Option<u64> {
        let queues = self.ports.iter().filter_map(|port| port.egress.poll_timeout());
        let expiry = (self.netfilter.conntrack().count() > 0).then_some(self.expire_at);
        let neighbours = self.ports.iter().filter_map(|port| port.neighbours.as_ref()?.poll_timeout());
        queues.chain(expiry).chain(neighbours).min()
    }

    /// Does what is due: connections, fragments and bans that are over go.
    pub fn handle_timeout(&mut self, now: Now) {
        self.guard.expire(now);
        self.give_up_neighbours(now);
        if now.mono >= self.expire_at {
            self.netfilter.expire(now, EXPIRE_BUDGET);
            let many = self.netfilter.conntrack().count() as usize > EXPIRE_BUDGET / 2;
            self.expire_at = now.mono + if many { EXPIRE_EVERY_OF_MANY } else { EXPIRE_EVERY };
        }
    }

    /// Forgets every connection, as if no packet had been seen.
    pub fn forget_connections(&mut self) {
        if let Ok(connections) = self.netfilter.conntrack_mut(Caller::Admin) {
            connections.flush();
        }
    }

    /// Bans a network, until a time of day in nanoseconds or for good. False when it was banned: then only the end changes.
    ///
    /// # Errors
    /// Too many bans.
    pub fn ban(&mut self, network: IpNet, until: Option<u64>) -> Result<bool, TooManyBans> {
        self.guard.ban(network, until)
    }

    /// Lifts the ban of exactly this network. False when there was none.
    pub fn unban(&mut self, network: IpNet) -> bool {
        self.guard.unban(network)
    }

    /// Every ban with what it has refused.
    pub fn bans(&self) -> Vec<BanCount> {
        self.guard.bans()
    }

    /// The `count` sources in the tunnel that sent the most bytes.
    pub fn top(&self, count: usize) -> Vec<SourceCount> {
        self.guard.top(count)
    }

    /// The guard.
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Packets dropped since the beginning, by the reason's name.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let mut all = Drops::default();
        self.drops.iter().for_each(|(name, count)| all.add(name, count));
        for port in &self.ports {
            port.egress.drops().for_each(|(reason, count)| all.add(reason.name(), count));
        }
        all.into_iter()
    }

    /// Whether an address is the gateway's own.
    pub fn is_local(&self, address: IpAddr) -> bool {
        let mut addresses = self.ports.iter().flat_map(|port| &port.port.addresses);
        addresses.any(|own| own.addr() == address)
    }

    /// What waits to leave by a port.
    pub fn egress(&self, port: PortId) -> Option<&Egress> {
        self.place(port).map(|place| &self.ports[place].egress)
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().map(|port| &port.port)
    }

    /// Netfilter: rule sets with their counters, connections, queues.
    pub const fn netfilter(&self) -> &Netfilter {
        &self.netfilter
    }

    /// How much of what is bounded there is.
    pub fn usage(&self) -> Usage {
        let neighbours = || self.ports.iter().filter_map(|port| port.neighbours.as_ref());
        Usage {
            connections: self.netfilter.conntrack().count() as usize,
            waiting: self.ports.iter().map(|port| port.egress.len()).sum(),
            neighbours: neighbours().map(Neighbours::len).sum(),
            neighbours_asked: neighbours().map(Neighbours::asked).sum(),
            sources: self.guard.sources().count(),
            bans: self.guard.bans().len(),
            icmp_receivers: self.router.limits.peers(),
            connection_memory: self.netfilter.conntrack().memory(),
        }
    }

    /// ICMP errors that were not sent because of their limits.
    pub const fn icmp_refused(&self) -> u64 {
        self.router.limits.refused()
    }

    /// What rules wrote to the log (LOG, AUDIT), oldest first, since the last call; of too many lines the latest.
    pub fn drain_log(&mut self) -> impl Iterator<Item = String> + '_ {
        self.log.drain(..)
    }

    fn place(&self, id: PortId) -> Option<usize> {
        self.ports.iter().position(|port| port.port.id == id)
    }

    fn place_of_kind(&self, kind: PortKind) -> Option<usize> {
        self.ports.iter().position(|port| port.port.kind == kind)
    }

    fn drop(&mut self, reason: DropReason) {
        self.drops.count(reason);
        self.note_drop(reason);
    }

    /// The gateway's own reason for what netfilter ended, where it knows better.
    fn reason(&self, reason: fielato_netfilter::DropReason) -> DropReason {
        match (reason, self.router.refusal) {
            (fielato_netfilter::DropReason::NoRoute, Some(refusal)) => refusal,
            (reason, _) => DropReason::Netfilter(reason),
        }
    }

    fn note_line(&mut self, line: String) {
        if self.log_lines == 0 {
            return;
        }
        while self.log.len() >= self.log_lines {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }
}

/// In the order of their numbers.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Gateway {
    /// The next packet that leaves now, and by which port. Asked until there is none; [`Gateway::poll_timeout`] says when to ask
    /// again. Ports take turns.
    pub fn transmit(&mut self, now: Now) -> Option<(PortId, Buffer)> {
        let count = self.ports.len();
        for step in 0..count {
            let place = (self.turn + step) % count;
            let state = &mut self.ports[place];
            let own = state.neighbours.as_mut().and_then(Neighbours::next_frame);
            let packet = own.or_else(|| {
                let packet = state.egress.dequeue_packet(now.mono)?;
                Some(state.dress(packet))
            });
            if let Some(packet) = packet {
                self.turn = (place + 1) % count;
                return Some((state.port.id, packet));
            }
        }
        None
    }
}
