//! What is strange about a policy that is valid: rules that are never reached, rules that contradict each other, members that reach
//! nothing, services that are open to everyone, networks that overlap.
//!
//! Rules are products of address sets and ports. Whether one is reached is a question about packets: some packet of it must come past
//! all rules before. So packets are made, and the classifier of the netfilter library is asked which rule each of them meets first:
//! the corners of the rule's own box, and where earlier rules take these, packets of what they leave of it. The work for each rule
//! is bounded; what would take more is not told. So everything that is told is true.

mod access;
mod chain;
mod classes;
mod conflicts;
mod finding;
mod foreign;
mod legacy;
mod names;
mod networks;
mod ranges;
mod raw;
mod region;
mod shadows;

pub use finding::{About, Finding, Kind, Severity};
pub use foreign::{ForeignError, foreign};
pub use legacy::legacy;

use fielato_wire::Family;
use ipnet::IpNet;

use crate::config::Rule;
use crate::{Config, Plan};

use chain::{Chain, Sets};
use names::Names;
use shadows::Fates;

/// Everything that is strange about a policy, the worst first. `plan` is `config`'s now.
pub fn analyse(config: &Config, plan: &Plan) -> Vec<Finding> {
    let chains = chains(config, plan);
    let fates = Fates::of(&chains, config.rules.len());
    let mut findings = shadows::findings(&fates);
    let conflicts = conflicts::conflicts(&chains, &fates, &Names::of(config));
    findings.extend(conflicts.findings);
    findings.extend(access::idle_members(config, plan, &chains, &fates));
    findings.extend(access::open_services(config, &chains, &fates));
    findings.extend(networks::overlaps(config));
    if let Some(message) = conflicts.unfinished {
        findings.push(Finding {
            kind: Kind::Unfinished,
            severity: Severity::Note,
            about: About::Policy,
            message,
            help: String::new(),
        });
    }
    findings.sort_by(|a, b| (a.severity, a.kind, &a.about).cmp(&(b.severity, b.kind, &b.about)));
    findings
}

fn chains<'a>(config: &Config, plan: &'a Plan) -> Vec<Chain<'a>> {
    let conditional = conditional(config);
    let hosts = config.hosts.values().flat_map(|host| &host.addresses);
    let members = config.members.values().flat_map(|member| &member.addresses);
    // None of these is the hub's.
    let others: Vec<IpNet> = hosts.chain(members).copied().map(IpNet::from).collect();
    let mut sets = Sets::default();
    let mut chains = Vec::new();
    for family in [Family::V4, Family::V6] {
        chains.push(Chain::forward(&plan.firewall, family, &conditional, &mut sets));
        chains.push(Chain::input(&plan.firewall, &others, family, &conditional, &mut sets));
    }
    chains
}

/// Which rules the clock adds or takes away.
fn conditional(config: &Config) -> Vec<bool> {
    let by_the_clock = |rule: &Rule| !rule.when.is_empty() || rule.until.is_some();
    config.rules.iter().map(by_the_clock).collect()
}
