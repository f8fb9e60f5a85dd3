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
    fn route(&mut self, _: &RouteKey) -> Route {
        Route::Local
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

/// A protected host with its rules in force.
pub(super) struct FarEnd {
    rules: Rules,
    engine: Netfilter,
}

impl FarEnd {
    /// The host that `plan` makes.
    ///
    /// # Errors
    /// Its rules can't be run.
    pub fn new(plan: &HostPlan, now: Now) -> Result<FarEnd, QuestionError> {
        let refused = |problem: String| refused(&plan.name, problem);
        let rules = Rules::host(plan);
        let mut engine = Netfilter::new(conntrack::Config::default(), 1);
        for set in &rules.sets {
            let shared = engine.shared_mut(Caller::Admin).map_err(|error| refused(error.to_string()))?;
            let made = shared.sets.create(&set.name, set.kind.clone());
            made.map_err(|error| refused(error.to_string()))?;
            for entry in &set.entries {
                if let Some(known) = shared.sets.get_mut(&set.name) {
                    let added = known.add(entry, None, false, now.mono);
                    added.map_err(|error| refused(error.to_string()))?;
                }
            }
        }
        for ruleset in &rules.rulesets {
            let replace = Command::Replace {
                ruleset: ruleset.clone(),
                generation: None,
            };
            let replaced = engine.execute(Caller::Admin, replace, now);
            replaced.map_err(|error| refused(error.to_string()))?;
        }
        Ok(FarEnd { rules, engine })
    }

    /// As if no packet had come.
    pub fn forget(&mut self) {
        if let Ok(connections) = self.engine.conntrack_mut(Caller::Admin) {
            connections.flush();
        }
    }

    /// What it does with a packet that comes to it by its `tunnel`, or else by its own network: the rules it meets, and why it is
    /// stopped there.
    pub fn meet(&mut self, tunnel: Option<&str>, packet: &[u8], now: Now) -> (Vec<Step>, Option<Reason>) {
        let interface = Interface::new(1, tunnel.unwrap_or(OWN_NETWORK)).unwrap_or(Interface::NONE);
        let mut packet = match Packet::received(packet.to_vec(), interface) {
            Ok(packet) => packet,
            // Its own stack drops what is no packet before any rule, as the hub's does.
            Err(malformed) => {
                let name = malformed.name().to_owned();
                return (Vec::new(), Some(Reason::Gateway { name }));
            }
        };
        packet.trace = true;
        let family = packet.headers.family;
        let ended = self.engine.receive_in_place(&mut packet, &mut Alone, now);
        let rules = &self.rules;
        let met = self.engine.drain_effects().filter_map(|effect| match effect {
            Effect::Trace { place, .. } => step(&place, family, rules, ended),
            _ => None,
        });
        let steps: Vec<Step> = met.collect();
        let reason = match ended {
            Ended::Deliver => None,
            _ => Some(Reason::Rule {
                origin: Origin::Protected,
            }),
        };
        (steps, reason)
    }
}

fn refused(host: &str, problem: String) -> QuestionError {
    QuestionError::Gateway(format!("host {host}: {problem}"))
}

/// `filter:INPUT:rule:1`, as the engine words it.
fn step(place: &str, family: Family, rules: &Rules, ended: Ended) -> Option<Step> {
    let [table, chain, what, number] = place.split(':').collect::<Vec<_>>().try_into().ok()?;
    let number: usize = number.parse().ok()?;
    let rule = (what == "rule").then_some(number);
    Some(Step::Table {
        hook: chain.to_lowercase(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        rule,
        origin: rule.and_then(|number| rules.origin(family, table, chain, number.checked_sub(1)?)),
        verdict: if ended == Ended::Deliver { "accept" } else { "drop" }.to_owned(),
    })
}
