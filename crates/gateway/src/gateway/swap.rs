//! The configuration changes between two packets, whole or not at all.

use fielato_netfilter::conntrack::Conn;
use fielato_netfilter::engine::command::{Caller, Command, CommandError, Response};
use fielato_netfilter::sets::{SetError, Sets};
use fielato_netfilter::{Interface, Now, Ruleset, Table};
use fielato_qdisc::spec::HostFairness;

use super::{FAMILIES, Gateway, PortState};
use crate::DropReason;
use crate::config::{Config, ConfigError, Link, Port, PortKind, Route, RoutingRule, SetConfig, Shaping};
use crate::egress::{Egress, Side};
use crate::router::Router;

/// What a swap did.
#[derive(Debug, Default)]
pub struct Swapped {
    /// The tables as they were when they were replaced, with their counters.
    pub replaced: Vec<Table>,
}

/// What decides whether a connection may begin. Connections need not be judged again when it stays the same.
#[derive(Debug)]
pub(super) struct JudgedBy {
    rulesets: [Ruleset; 2],
    sets: Vec<SetConfig>,
    ports: Vec<Port>,
    routes: Vec<Route>,
    rules: Vec<RoutingRule>,
}

impl JudgedBy {
    fn of(config: &Config) -> JudgedBy {
        let Config {
            ports,
            routes,
            rules,
            rulesets,
            sets,
            shaping: _,
            guard: _,
            settings: _,
        } = config;
        JudgedBy {
            rulesets: rulesets.clone(),
            sets: sets.clone(),
            ports: ports.clone(),
            routes: routes.clone(),
            rules: rules.clone(),
        }
    }

    /// Rules' counters don't count.
    fn is_same(&self, other: &JudgedBy) -> bool {
        let JudgedBy {
            rulesets,
            sets,
            ports,
            routes,
            rules,
        } = self;
        let same_rules = rulesets.iter().zip(&other.rulesets).all(|(one, other)| one.same(other));
        same_rules && *sets == other.sets && *ports == other.ports && *routes == other.routes && *rules == other.rules
    }
}

impl Gateway {
    /// Makes the gateway what `config` says. Everything is compiled before anything is changed. Connections, queues, bans' and
    /// sources' counts stay. No packet passes any more of a connection that the new rules would not let begin;
    /// [`Gateway::judge_some`] is to be called until all have been looked at.
    ///
    /// # Errors
    /// What is wrong with the configuration; nothing was changed then.
    pub fn swap(&mut self, config: Config, now: Now) -> Result<Swapped, ConfigError> {
        // What can be refused is refused here.
        let seed = self.rng.u64(..);
        let router = Router::new(&config, seed)?;
        check_ports(&config)?;
        let sets = sets(&config, now)?;
        for port in &config.ports {
            arrange(&mut new_egress(port, &config, seed), port, &config, now)?;
        }
        crate::guard::check(&config.guard)?;
        if config.rulesets.each_ref().map(|ruleset| ruleset.family) != FAMILIES {
            return Err(ConfigError::RulesetOrder);
        }
        let exchange = Command::Exchange(config.rulesets.clone());
        let replaced = match self.netfilter.execute(Caller::Admin, exchange, now) {
            Ok(Response::Replaced(replaced)) => replaced,
            Err(CommandError::Compile(error)) => return Err(error.into()),
            // No other answer is possible.
            Ok(_) | Err(_) => Vec::new(),
        };
        // From here on nothing can fail: everything changes between two packets.
        let _ = self
            .netfilter
            .execute(Caller::Admin, Command::Configure(config.settings.conntrack.clone()), now);
        if let Ok(shared) = self.netfilter.shared_mut(Caller::Admin) {
            let gone = self.set_names.iter().filter(|name| sets.get(name).is_none());
            for name in gone {
                let _ = shared.sets.destroy(name);
            }
            self.set_names = sets.iter().map(|(name, _)| name.to_owned()).collect();
            shared.sets.take_all(sets);
        }
        self.guard.configure(&config.guard, now)?;
        let judged_by = JudgedBy::of(&config);
        let is_as_before = self.judged_by.as_ref().is_some_and(|before| before.is_same(&judged_by));
        self.judged_by = Some(judged_by);
        let old = std::mem::replace(&mut self.router, router);
        self.router.succeed(old, &config);
        self.renew_ports(&config, now)?;
        (self.log_lines, self.foreign) = (config.settings.log_lines, config.settings.foreign);
        if !is_as_before {
            self.netfilter.judge_again();
        }
        Ok(Swapped { replaced })
    }

    /// Ends connections that the rules since the last swap would not let begin. Rules let packets of known connections pass first, so
    /// that these would live on. Looks at up to `places` places of the connection table, each of which costs as much as the first
    /// packet of a connection, half a microsecond or more. `None` when there are more, else how many connections were ended since the
    /// swap.
    pub fn judge_some(&mut self, places: u32, now: Now) -> Option<usize> {
        self.router.at(now);
        self.netfilter.judge_some(places, &mut self.router, now)
    }

    /// Whether a connection that somebody else tracks, such as the kernel, would be let begin now; yes when it can't be told.
    pub fn would_admit(&mut self, conn: Conn, now: Now) -> bool {
        self.router.at(now);
        self.netfilter.would_admit(conn, &mut self.router, now)
    }

    /// Ports that stay keep their queues, others come and go.
    fn renew_ports(&mut self, config: &Config, now: Now) -> Result<(), ConfigError> {
        let mut old = std::mem::take(&mut self.ports);
        for port in &config.ports {
            let stays = |state: &PortState| state.port.id == port.id && state.port.kind == port.kind;
            let mut state = match old.iter().position(stays) {
                Some(place) => old.swap_remove(place),
                None => {
                    let seed = self.rng.u64(..);
                    PortState {
                        port: port.clone(),
                        interface: Interface::NONE,
                        egress: new_egress(port, config, seed),
                        neighbours: None,
                    }
                }
            };
            let neighbours = config.settings.neighbours;
            match (&mut state.neighbours, port.link) {
                (Some(known), Link::Ethernet { mac }) => known.configure(mac, &port.addresses, neighbours),
                (known, _) => *known = PortState::neighbours_of(port, neighbours),
            }
            state.egress.renew(egress_settings(port, config, self.rng.u64(..)), now.mono);
            (state.port, state.interface) = (port.clone(), port.interface().unwrap_or_default());
            arrange(&mut state.egress, port, config, now)?;
            self.ports.push(state);
        }
        for gone in old {
            self.drops.add(DropReason::PortRemoved.name(), gone.egress.len() as u64);
            gone.egress
                .drops()
                .for_each(|(reason, count)| self.drops.add(reason.name(), count));
        }
        self.turn = 0;
        Ok(())
    }
}

/// A way out without disciplines.
fn new_egress(port: &Port, config: &Config, seed: u64) -> Egress {
    let side = match port.kind {
        PortKind::Tunnel => Side::Destination,
        PortKind::Host | PortKind::Network => Side::Source,
    };
    Egress::new(side, egress_settings(port, config, seed))
}

fn egress_settings(port: &Port, config: &Config, seed: u64) -> fielato_qdisc::Settings {
    fielato_qdisc::Settings {
        txqueuelen: config.settings.queue_length,
        mtu: port.mtu,
        link_header: match port.link {
            Link::Ip => 0,
            Link::Ethernet { .. } => 14,
        },
        seed,
        // Whose packets they are: as for the classes by address.
        hosts: match port.kind {
            PortKind::Tunnel => HostFairness::Dst,
            PortKind::Host | PortKind::Network => HostFairness::Src,
        },
    }
}

/// Gives a port the disciplines that the configuration has for it.
fn arrange(egress: &mut Egress, port: &Port, config: &Config, now: Now) -> Result<(), ConfigError> {
    let none = Shaping {
        port: port.id,
        items: Vec::new(),
        classes: Default::default(),
    };
    let shaping = config.shaping.iter().find(|shaping| shaping.port == port.id).unwrap_or(&none);
    let applied = egress.apply(&shaping.items, &shaping.classes, now.mono);
    applied.map_err(|source| ConfigError::Shaping {
        name: port.name.clone(),
        source,
    })
}

/// What names a port names one that there is.
fn check_ports(config: &Config) -> Result<(), ConfigError> {
    let shaped = config.shaping.iter().map(|shaping| ("traffic control", shaping.port));
    let foreign = config.settings.foreign.map(|port| ("the setting for foreign packets", port));
    for (what, port) in shaped.chain(foreign) {
        if !config.ports.iter().any(|known| known.id == port) {
            return Err(ConfigError::NoPort {
                what: what.to_owned(),
                port,
            });
        }
    }
    Ok(())
}

/// The sets, filled.
fn sets(config: &Config, now: Now) -> Result<Sets, ConfigError> {
    let mut sets = Sets::default();
    for SetConfig { name, kind, entries } in &config.sets {
        let refused = |source| ConfigError::Set {
            name: name.clone(),
            source,
        };
        sets.create(name, kind.clone()).map_err(refused)?;
        let set = sets.get_mut(name).ok_or_else(|| refused(SetError::NoSet))?;
        for entry in entries {
            set.add(entry, None, false, now.mono).map_err(refused)?;
        }
    }
    Ok(sets)
}
