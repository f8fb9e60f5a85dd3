//! A protected host's own rules, in a second engine.

use fielato_netfilter::engine::Ended;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_netfilter::{Effect, Interface, Netfilter, Now, Packet, conntrack};
use fielato_wire::{Addr, Family};

use super::question::QuestionError;
use super::station::{Reason, Step};
use crate::gateway::{Origin, Rules};
use crate::plan::HostPlan;

/// A host to which every address is its own: what comes to it is for it.
struct Alone;

impl Host for Alone {
    fn route(&mut self, key: &RouteKey) -> Route {
        if key.in_interface != Interface::NONE {
            return Route::Local;
        }
        Route::Out {
            interface: Interface::new(1, OWN_NETWORK).unwrap_or(Interface::NONE),
            mtu: u32::from(u16::MAX),
            realm: 0,
        }
    }

    fn address_type(&mut self, _: Family, _: Addr, _: Option<Interface>) -> AddressType {
        AddressType::Local
    }

    fn interface_address(&mut self, _: Family, _: Interface, _: Addr) -> Option<Addr> {
        None
    }
}

/// The host's interface that is not the tunnel's; the file does not know its name, and the rules do not ask.
const OWN_NETWORK: &str = "network";

/// What a protected host did with a packet.
#[derive(Default)]
pub(super) struct Met {
    /// The rules that the packet met.
    pub steps: Vec<Step>,
    /// Why it was stopped.
    pub reason: Option<Reason>,
    /// What the sender is told then.
    pub told: Vec<Vec<u8>>,
}

/// A protected host with its connections.
pub(super) struct FarEnd {
    engine: Netfilter,
    rules: Rules,
}

impl FarEnd {
    /// # Errors
    /// Its rules can't be run.
    pub fn new(plan: &HostPlan, now: Now) -> Result<Self, QuestionError> {
        let rules = Rules::host(plan);
        let engine = engine(&rules, now).map_err(|problem| refused(&plan.name, &problem))?;
        Ok(Self { engine, rules })
    }

    /// As if no packet had come or gone.
    pub fn forget(&mut self) {
        if let Ok(connections) = self.engine.conntrack_mut(Caller::Admin) {
            connections.flush();
        }
    }

    /// Notes a packet that it sends: the answer is let in.
    pub fn send(&mut self, packet: &[u8], now: Now) {
        if let Ok(mut packet) = Packet::local(packet.to_vec()) {
            self.engine.send_local_in_place(&mut packet, &mut Alone, now);
            self.engine.drain_effects().for_each(drop);
        }
    }

    /// What it does with a packet that comes to it by this interface, or else by its own network.
    pub fn meet(&mut self, by: Option<&str>, packet: &[u8], now: Now) -> Met {
        let interface = Interface::new(1, by.unwrap_or(OWN_NETWORK)).unwrap_or(Interface::NONE);
        let mut packet = match Packet::received(packet.to_vec(), interface) {
            Ok(packet) => packet,
            // Its own stack drops what is no packet before any rule, as the hub's does.
            Err(malformed) => {
                let name = malformed.name().to_owned();
                return Met {
                    reason: Some(Reason::Gateway { name }),
                    ..Met::default()
                };
            }
        };
        packet.trace = true;
        let family = packet.headers.family;
        let ended = self.engine.receive_in_place(&mut packet, &mut Alone, now);
        let rules = &self.rules;
        let (mut steps, mut told) = (Vec::new(), Vec::new());
        for effect in self.engine.drain_effects() {
            match effect {
                Effect::Trace { place, .. } => steps.extend(step(&place, family, rules, ended)),
                Effect::Transmit(packet) => told.push(packet.data),
                _ => {}
            }
        }
        let last = steps.iter().rev().find_map(|step| match step {
            Step::Table { origin, .. } => origin.clone(),
            _ => None,
        });
        let reason = (ended != Ended::Deliver).then(|| Reason::Rule {
            origin: last.unwrap_or(Origin::Protected),
        });
        Met { steps, reason, told }
    }
}

fn refused(name: &str, problem: &str) -> QuestionError {
    QuestionError::Gateway(format!("host {name}: {problem}"))
}

fn engine(rules: &Rules, now: Now) -> Result<Netfilter, String> {
    let mut engine = Netfilter::new(conntrack::Config::default(), 1);
    for set in &rules.sets {
        let shared = engine.shared_mut(Caller::Admin).map_err(|error| error.to_string())?;
        let made = shared.sets.create(&set.name, set.kind.clone());
        made.map_err(|error| error.to_string())?;
        for entry in &set.entries {
            if let Some(known) = shared.sets.get_mut(&set.name) {
                let added = known.add(entry, None, false, now.mono);
                added.map_err(|error| error.to_string())?;
            }
        }
    }
    for ruleset in &rules.rulesets {
        let replace = Command::Replace {
            ruleset: ruleset.clone(),
            generation: None,
        };
        engine
            .execute(Caller::Admin, replace, now)
            .map_err(|error| error.to_string())?;
    }
    Ok(engine)
}

/// `filter:INPUT:rule:1`, as the engine words it.
fn step(place: &str, family: Family, rules: &Rules, ended: Ended) -> Option<Step> {
    let [table, chain, what, number] = place.split(':').collect::<Vec<_>>().try_into().ok()?;
    let number: usize = number.parse().ok()?;
    let rule = (what == "rule").then_some(number);
    let index = rule.and_then(|number| number.checked_sub(1));
    let target = index.and_then(|index| rules.target(family, table, chain, index));
    let at_the_end = if ended == Ended::Deliver { "accept" } else { "drop" };
    Some(Step::Table {
        hook: chain.to_lowercase(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        rule,
        origin: index.and_then(|index| rules.origin(family, table, chain, index)),
        verdict: target.map_or_else(|| at_the_end.to_owned(), |target| target.name().to_lowercase()),
    })
}
