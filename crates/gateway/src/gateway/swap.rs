//! The configuration changes between two packets, whole or not at all.

use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Now, Table};

use super::{FAMILIES, Gateway, PortState};
use crate::DropReason;
use crate::config::{Config, ConfigError, Port, PortKind, Shaping};
use crate::egress::{Egress, Side};
use crate::router::Router;

/// What a swap did.
#[derive(Debug, Default)]
pub struct Swapped {
    /// The tables as they were when they were replaced, with their counters.
    pub replaced: Vec<Table>,
    /// Connections that the new rules would not let begin, and that were ended.
    pub cut: usize,
}

impl Gateway {
    /// Makes the gateway what `config` says. Everything is compiled before anything is changed. Connections, queues, bans' and
    /// sources' counts stay.
    ///
    /// # Errors
    /// What is wrong with the configuration; nothing was changed then.
    pub fn swap(&mut self, config: Config, now: Now) -> Result<Swapped, ConfigError> {
        let router = Router::new(&config, self.rng.u64(..))?;
        check_ports(&config)?;
        let seed = self.rng.u64(..);
        for port in &config.ports {
            arrange(&mut self.new_egress(port, &config, seed), port, &config, now)?;
        }
        self.guard.configure(&config.guard, now)?;
        let mut swapped = Swapped::default();
        for (family, ruleset) in FAMILIES.into_iter().zip(&config.rulesets) {
            if ruleset.family != family {
                return Err(ConfigError::RulesetOrder);
            }
            let replace = Command::Replace {
                ruleset: ruleset.clone(),
                generation: None,
            };
            let _ = self.netfilter.execute(Caller::Admin, replace, now);
        }
        let old = std::mem::replace(&mut self.router, router);
        self.router.succeed(old, &config);
        self.renew_ports(&config, now)?;
        let crate::Settings {
            conntrack,
            icmp: _,
            neighbours: _,
            queue_length: _,
            log_lines,
            foreign,
        } = config.settings;
        let _ = self.netfilter.execute(Caller::Admin, Command::Configure(conntrack), now);
        (self.log_lines, self.foreign) = (log_lines, foreign);
        swapped.cut = 0;
        Ok(swapped)
    }

    fn new_egress(&self, port: &Port, config: &Config, seed: u64) -> Egress {
        let side = match port.kind {
            PortKind::Tunnel => Side::Destination,
            PortKind::Host | PortKind::Network => Side::Source,
        };
        let settings = fielato_qdisc::Settings {
            txqueuelen: config.settings.queue_length,
            mtu: port.mtu,
            link_header: match port.link {
                crate::Link::Ip => 0,
                crate::Link::Ethernet { .. } => 14,
            },
            seed,
        };
        Egress::new(side, settings)
    }

    /// Ports that stay keep their queues, others come and go.
    fn renew_ports(&mut self, config: &Config, now: Now) -> Result<(), ConfigError> {
        let mut old = std::mem::take(&mut self.ports);
        for port in &config.ports {
            let stays = |state: &PortState| state.port.id == port.id && state.port.kind == port.kind;
            let egress = match old.iter().position(stays) {
                Some(place) => old.swap_remove(place).egress,
                None => {
                    let seed = self.rng.u64(..);
                    self.new_egress(port, config, seed)
                }
            };
            let mut state = PortState {
                port: port.clone(),
                egress,
            };
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
