//! `-C`: what would happen to a packet in one chain.

use super::{Chains, Rule, Side, Target};

/// A packet made up for a check: one address and port at each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(pub Rule);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words that are printed")]
pub enum Fate {
    Accepted,
    Denied,
    Rejected,
    Masqueraded,
    Redirected,
    /// A user chain said nothing.
    PassedThrough,
}

impl Fate {
    /// As it is printed.
    pub const fn words(self) -> &'static str {
        match self {
            Fate::Accepted => "accepted",
            Fate::Denied => "denied",
            Fate::Rejected => "rejected",
            Fate::Masqueraded => "masqueraded",
            Fate::Redirected => "redirected",
            Fate::PassedThrough => "passed through chain",
        }
    }

    fn of(target: &Target) -> Fate {
        match target {
            Target::Accept => Fate::Accepted,
            Target::Deny => Fate::Denied,
            Target::Reject => Fate::Rejected,
            Target::Masq => Fate::Masqueraded,
            Target::Redirect(_) => Fate::Redirected,
            Target::Return | Target::Chain(_) => Fate::PassedThrough,
        }
    }
}

impl Chains {
    /// What becomes of a packet in a chain; `None` when there is no such chain.
    pub fn fate(&self, chain: &str, probe: &Probe) -> Option<Fate> {
        let policy = self.chain(chain)?.policy.as_ref().map_or(Fate::PassedThrough, Fate::of);
        Some(self.walk(chain, probe).unwrap_or(policy))
    }

    /// Chains don't come back to themselves: [`Chains::apply`] sees to it.
    fn walk(&self, chain: &str, probe: &Probe) -> Option<Fate> {
        for (rule, _) in &self.chain(chain)?.rules {
            if !holds(rule, &probe.0) {
                continue;
            }
            match &rule.target {
                None => {}
                Some(Target::Return) => return None,
                Some(Target::Chain(to)) => {
                    if let Some(fate) = self.walk(to, probe) {
                        return Some(fate);
                    }
                }
                Some(target) => return Some(Fate::of(target)),
            }
        }
        None
    }
}

fn holds(rule: &Rule, probe: &Rule) -> bool {
    let protocol = probe.protocol.map_or(0, |(number, _)| number);
    let protocol_holds = rule.protocol.is_none_or(|(number, negated)| (number == protocol) != negated);
    let interface = probe.interface.as_ref().map_or("", |(name, _)| name);
    let interface_holds = rule.interface.as_ref().is_none_or(|(name, negated)| {
        let same = match name.strip_suffix('+') {
            Some(start) => interface.starts_with(start),
            None => name == interface,
        };
        same != *negated
    });
    // Later fragments have no ports and no flags.
    let later = probe.fragment == Some(true);
    let transport = |asked: bool| !asked || !later;
    protocol_holds
        && interface_holds
        && side(&rule.source, &probe.source)
        && side(&rule.destination, &probe.destination)
        && rule.fragment.is_none_or(|wanted| wanted == later)
        && rule.syn.is_none_or(|wanted| wanted == probe.syn.unwrap_or(false))
        && transport(rule.syn.is_some() || rule.source.ports.is_some() || rule.destination.ports.is_some())
}

fn side(asked: &Side, given: &Side) -> bool {
    let port = given.ports.map_or(0, |(port, _)| port);
    asked.network.holds(given.network.address) != asked.negated
        && asked
            .ports
            .is_none_or(|(from, to)| (from..=to).contains(&port) != asked.ports_negated)
}
