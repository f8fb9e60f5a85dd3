//! Our engine, with a little host around it that does what Linux does: routes, delivers, sends ICMP errors, loops back.

mod host;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fielato_iptables::{FileNames, Registry, restore};
use fielato_netfilter::conntrack::defrag::fragment;
use fielato_netfilter::conntrack::{Config, Conntrack, Direction, ProtoState, Tracking};
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Effect, Netfilter, Now, Packet, Ruleset};
use fielato_wire::Family;

use crate::error::Error;
use crate::sets;
use crate::subject::{Connection, Counter, Output, Port, STATUS_MASK, Setup, Subject, Tuple};
use host::Router;

/// Most packets that one packet may bring about: copies of copies, answers to answers.
const EFFECTS: usize = 64;

/// The engine as a [`Subject`].
pub struct Engine {
    netfilter: Netfilter,
    router: Router,
    registry: Registry,
    names: FileNames,
    tracking: bool,
    /// What is on its way is a copy (TEE).
    copying: bool,
    seed: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Engine {
    /// An engine without rules; `seed` is its random generator's.
    pub fn new(seed: u64) -> Self {
        Self {
            netfilter: Netfilter::new(Config::default(), seed),
            router: Router::default(),
            registry: Registry::builtin(),
            names: sets::names(),
            tracking: true,
            copying: false,
            seed,
        }
    }

    /// Packets that took the short way of known flows.
    pub fn cached_packets(&self) -> u64 {
        self.netfilter.cached_packets()
    }

    fn parse(&self, family: Family, rules: &str) -> Result<Ruleset, Error> {
        restore::parse(rules, family, &self.registry, &self.names).map_err(refused)
    }

    fn accepts(&self, family: Family, rules: &str) -> Result<(), String> {
        let ruleset = restore::parse(rules, family, &self.registry, &self.names).map_err(|error| error.error.to_string())?;
        let mut netfilter = with_sets(Config::default(), 0).map_err(|error| error.to_string())?;
        let replace = Command::Replace {
            ruleset,
            generation: None,
        };
        netfilter
            .execute(Caller::Admin, replace, moment(Duration::ZERO))
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn receive(&mut self, packet: Packet, now: Now, outputs: &mut Vec<Output>) {
        let fate = self.netfilter.receive(packet, &mut self.router, now);
        self.settle(fate, now, outputs);
    }

    /// What the kernel itself sends, by its own means.
    fn send(&mut self, packet: Packet, now: Now, outputs: &mut Vec<Output>) {
        let fate = self.netfilter.send_local(packet, &mut self.router, now);
        self.settle(fate, now, outputs);
    }

    /// Carries out what a packet's way caused, then its fate.
    fn settle(&mut self, fate: Fate, now: Now, outputs: &mut Vec<Output>) {
        let effects: Vec<Effect> = self.netfilter.drain_effects().collect();
        for effect in effects {
            if outputs.len() > EFFECTS {
                return;
            }
            match effect {
                Effect::Transmit(packet) | Effect::Send(packet) => self.transmit(*packet, outputs),
                // A copy's copies are not made (`nf_skb_duplicated`).
                Effect::Copy { .. } if self.copying => {}
                Effect::Copy { gateway, mut packet } => {
                    packet.in_interface = fielato_netfilter::Interface::NONE;
                    (self.copying, self.router.gateway) = (true, Some(gateway));
                    self.send(*packet, now, outputs);
                    (self.copying, self.router.gateway) = (false, None);
                }
                Effect::Log { .. } | Effect::NfLog { .. } | Effect::Trace { .. } | Effect::Audit { .. } => {}
            }
        }
        match fate {
            Fate::Deliver(packet) => outputs.push(delivered(packet)),
            Fate::Transmit(packet) => self.transmit(packet, outputs),
            Fate::Dropped(_) | Fate::Stolen | Fate::Fragment | Fate::Queued => {}
        }
    }

    fn transmit(&mut self, packet: Packet, outputs: &mut Vec<Output>) {
        let port = match packet.out_interface.index {
            host::INSIDE => Port::Inside,
            host::OUTSIDE => Port::Outside,
            _ => return outputs.push(delivered(packet)),
        };
        let pieces = fragment(&packet, packet.mtu).unwrap_or_default();
        outputs.extend(pieces.into_iter().map(|packet| Output { port, packet }));
    }
}

fn delivered(packet: Packet) -> Output {
    Output {
        port: Port::Host,
        packet: packet.data,
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Rules {
        subject: "engine",
        reason: error.to_string(),
    }
}

/// An engine with the sets that rules may name.
fn with_sets(config: Config, seed: u64) -> Result<Netfilter, Error> {
    let mut netfilter = Netfilter::new(config, seed);
    let shared = netfilter.shared_mut(Caller::Admin).map_err(refused)?;
    sets::fill(&mut shared.sets).map_err(refused)?;
    Ok(netfilter)
}

impl Subject for Engine {
    fn prune(&mut self, setup: &mut Setup) -> Vec<(String, String)> {
        let mut refused = Vec::new();
        for (family, rules) in [(Family::V4, &mut setup.rules_v4), (Family::V6, &mut setup.rules_v6)] {
            let mut kept = String::new();
            let mut head = String::new();
            for line in rules.lines() {
                if line.starts_with('*') {
                    head.clear();
                }
                if !line.contains("-A ") {
                    head += line;
                    head.push('\n');
                } else if let Err(reason) = self.accepts(family, &format!("{head}{line}\nCOMMIT\n")) {
                    refused.push((line.to_owned(), reason));
                    continue;
                }
                kept += line;
                kept.push('\n');
            }
            *rules = kept;
        }
        refused
    }

    fn load(&mut self, setup: &Setup) -> Result<(), Error> {
        let config = Config {
            checksum: setup.checksum,
            tcp_loose: setup.tcp_loose,
            tcp_be_liberal: setup.tcp_liberal,
            tracking: match setup.tracking {
                true => Tracking::Always,
                false => Tracking::WhenNeeded,
            },
            ..Config::default()
        };
        self.seed = self.seed.wrapping_add(1);
        self.netfilter = with_sets(config, self.seed)?;
        self.tracking = setup.tracking;
        for family in [Family::V4, Family::V6] {
            let ruleset = self.parse(family, setup.rules(family))?;
            let replace = Command::Replace {
                ruleset,
                generation: None,
            };
            self.netfilter
                .execute(Caller::Admin, replace, moment(Duration::ZERO))
                .map_err(refused)?;
        }
        Ok(())
    }

    fn inject(&mut self, at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        let now = moment(at);
        let mut outputs = Vec::new();
        let interface = match port {
            Port::Host => {
                if let Ok(packet) = Packet::local(packet.to_vec()) {
                    self.send(packet, now, &mut outputs);
                }
                return Ok(outputs);
            }
            Port::Inside => host::interface(host::INSIDE),
            Port::Outside => host::interface(host::OUTSIDE),
        };
        if let Ok(packet) = Packet::received(packet.to_vec(), interface) {
            self.receive(packet, now, &mut outputs);
        }
        Ok(outputs)
    }

    fn counters(&mut self) -> Result<Vec<Counter>, Error> {
        let mut all = Vec::new();
        for family in [Family::V4, Family::V6] {
            for table in self.netfilter.ruleset(family).tables {
                for chain in table.chains {
                    let counter = |rule, counters: fielato_netfilter::Counters| Counter {
                        v6: family == Family::V6,
                        table: table.name.clone(),
                        chain: chain.name.clone(),
                        rule,
                        packets: counters.packets,
                        bytes: counters.bytes,
                    };
                    if chain.policy.is_some() {
                        all.push(counter(None, chain.counters));
                    }
                    let rules = chain.rules.iter().enumerate();
                    all.extend(rules.map(|(index, rule)| counter(Some(index), rule.counters)));
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn connections(&mut self, at: Duration) -> Result<Vec<Connection>, Error> {
        if !self.tracking {
            return Ok(Vec::new());
        }
        Ok(connections(self.netfilter.conntrack(), moment(at)))
    }
}

/// Every connection in one of our tables, in order.
pub fn connections(conntrack: &Conntrack, now: Now) -> Vec<Connection> {
    let tuple = |tuple: &fielato_netfilter::conntrack::Tuple| Tuple {
        src: tuple.src,
        dst: tuple.dst,
        sport: tuple.sport,
        dport: tuple.dport,
    };
    let mut all: Vec<Connection> = conntrack
        .iter()
        .map(|(_, conn)| Connection {
            v6: conn.tuples[0].family == Family::V6,
            protocol: conn.tuples[0].protocol,
            original: tuple(&conn.tuples[0]),
            reply: tuple(&conn.tuples[1]),
            zones: [Direction::Original, Direction::Reply].map(|direction| conn.zone.in_direction(direction)),
            status: conn.status.0 & STATUS_MASK,
            mark: conn.mark,
            counters: [0, 1].map(|side| (conn.counters[side].packets, conn.counters[side].bytes)),
            state: match &conn.proto {
                ProtoState::Tcp(tcp) => Some(tcp.state as u8),
                ProtoState::Sctp(sctp) => Some(sctp.state as u8),
                _ => None,
            },
            helper: conn.helper.map(|helper| helper.name().to_owned()),
            master: conn.known_master().map(|master| tuple(&master.tuple)),
            timeout: (conn.deadline.saturating_sub(now.mono) / Now::SECOND) as u32,
        })
        .collect();
    all.sort();
    all
}

/// The engine's clock: the case's on the monotonic side, the real one on the other, as the kernel's.
fn moment(at: Duration) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Not at zero, so that nothing is taken for "never".
    let mono = Duration::from_secs(1_000_000) + at;
    Now {
        mono: mono.as_nanos() as u64,
        wall: wall.as_nanos() as u64,
    }
}
