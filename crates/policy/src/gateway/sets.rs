//! Sets of addresses: the policy's groups, and lists that are too long to be rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fielato_gateway::SetConfig;
use fielato_netfilter::sets::{Dimension, Kind, Part};
use fielato_wire::Family;
use ipnet::IpNet;

/// Longest name of a set (`IPSET_MAXNAMELEN` less the closing zero).
const MAX_NAME: usize = 31;

/// What sets of a rule's own are called, with a number.
const LIST: &str = "list";

/// The sets of a rule set as it is made. Each list of addresses is there once.
#[derive(Default)]
pub(super) struct Sets {
    known: BTreeMap<(Source, Family), Option<String>>,
    made: Vec<SetConfig>,
}

/// Where a set's elements come from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// A set of the plan.
    Named(String),
    /// A list in a rule.
    List(Vec<IpNet>),
}

impl Sets {
    /// The set that the plan calls `name`, as far as it is of `family`; `None` when it has no element there.
    pub(super) fn named(&mut self, name: &str, nets: &[IpNet], family: Family) -> Option<String> {
        self.once(Source::Named(name.to_owned()), name, nets, family)
    }

    /// A set of these networks.
    pub(super) fn list(&mut self, nets: &[IpNet], family: Family) -> Option<String> {
        self.once(Source::List(nets.to_vec()), LIST, nets, family)
    }

    pub(super) fn into_configs(self) -> Vec<SetConfig> {
        self.made
    }

    fn once(&mut self, source: Source, name: &str, nets: &[IpNet], family: Family) -> Option<String> {
        let key = (source, family);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let name = self.make(name, nets, family);
        self.known.insert(key, name.clone());
        name
    }

    fn make(&mut self, name: &str, nets: &[IpNet], family: Family) -> Option<String> {
        let nets = of_family(nets, family);
        if nets.is_empty() {
            return None;
        }
        let single = nets.iter().all(|net| net.prefix_len() == net.max_prefix_len());
        let nets = if single { nets } else { IpNet::aggregate(&nets) };
        let name = self.free_name(name, family);
        self.made.push(SetConfig {
            name: name.clone(),
            kind: Kind {
                dimensions: vec![if single { Dimension::Ip } else { Dimension::Net }],
                family,
                max: nets.len(),
                timeout: 0,
                counters: false,
            },
            entries: nets
                .iter()
                .map(|net| vec![Part::Addr(net.network().into(), net.prefix_len())])
                .collect(),
        });
        Some(name)
    }

    /// The plan's name where it fits, else one with a number; the plan's names are identifiers, so they have no hyphen.
    fn free_name(&self, name: &str, family: Family) -> String {
        let suffix = match family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        let plain = format!("{name}_{suffix}");
        if plain.len() <= MAX_NAME && name != LIST {
            return plain;
        }
        let short: String = name.chars().take(16).collect();
        format!("{short}-{}_{suffix}", self.made.len())
    }
}

/// The networks of one family.
pub(super) fn of_family(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    let is = |address: IpAddr| address.is_ipv4() == (family == Family::V4);
    nets.iter().copied().filter(|net| is(net.addr())).collect()
}
