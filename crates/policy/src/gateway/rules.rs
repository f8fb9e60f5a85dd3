//! A firewall as netfilter's tables: line for line what [`render::nft`](crate::render::nft) writes, so that both engines judge alike.

use fielato_gateway::SetConfig;
use fielato_netfilter::rule::Policy;
use fielato_netfilter::{Chain, Hook, Ruleset, Table, Target};
use fielato_wire::Family;

use super::sets::Sets;
use crate::config::RawTable;
use crate::plan::{Firewall, HostPlan, Origin};

mod filter;
mod host;
mod hub;
mod list;
mod parts;

use hub::Hub;
use list::List;

/// Tables of rules for both families, with what each rule was made from.
#[derive(Debug, Clone)]
pub struct Rules {
    /// IPv4, then IPv6.
    pub rulesets: [Ruleset; 2],
    /// The sets that the rules name.
    pub sets: Vec<SetConfig>,
    origins: Vec<ChainOrigins>,
}

/// What the rules of a chain were made from.
#[derive(Debug, Clone)]
struct ChainOrigins {
    family: Family,
    table: &'static str,
    chain: String,
    origins: Vec<Origin>,
}

/// Both families, in the order of [`Rules::rulesets`].
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Networks in a rule that become a rule each: the classifier finds those at once. More become a set.
const SPELLED_OUT: usize = 4;

impl Rules {
    /// The hub's rules.
    pub fn hub(firewall: &Firewall) -> Rules {
        // A nat table without rules would judge ICMP errors all the same.
        let raw = firewall.raw.iter().any(|raw| raw.table == RawTable::Nat);
        let nat = firewall.masquerade || !firewall.published.is_empty() || raw;
        let mut rules = Rules::empty(if nat { &["filter", "nat"] } else { &["filter"] });
        let mut sets = Sets::default();
        for family in FAMILIES {
            let mut made = Hub::new(firewall, family, &mut sets);
            let mut forward = made.forward();
            // As in the nft text: what no rule decides is dropped, even if the last line were gone.
            forward.policy = Policy::Drop;
            rules.put(family, "filter", Hook::Forward, forward);
            rules.put(family, "filter", Hook::Input, made.input());
            rules.put(family, "filter", Hook::Output, made.output());
            if nat {
                rules.put(family, "nat", Hook::Prerouting, made.prerouting());
                rules.put(family, "nat", Hook::Postrouting, made.postrouting());
            }
        }
        rules.sets = sets.into_configs();
        rules
    }

    /// A protected host's rules.
    pub fn host(plan: &HostPlan) -> Rules {
        let mut rules = Rules::empty(&["filter"]);
        let mut sets = Sets::default();
        for family in FAMILIES {
            rules.put(family, "filter", Hook::Input, host::input(plan, family, &mut sets));
        }
        rules.sets = sets.into_configs();
        rules
    }

    /// What a rule was made from, by its 0-based place in its chain; `None` when there is no such rule.
    pub fn origin(&self, family: Family, table: &str, chain: &str, rule: usize) -> Option<Origin> {
        let mut chains = self.origins.iter();
        let known = chains.find(|of| (of.family, of.table, of.chain.as_str()) == (family, table, chain));
        known.and_then(|of| of.origins.get(rule)).cloned()
    }

    /// What a rule does, by its 0-based place in its chain; `None` when there is no such rule.
    pub fn target(&self, family: Family, table: &str, chain: &str, rule: usize) -> Option<&Target> {
        let ruleset = self.rulesets.iter().find(|ruleset| ruleset.family == family)?;
        let chain = ruleset.table(table)?.chain(chain)?;
        chain.rules.get(rule).map(|rule| &rule.target)
    }

    fn empty(tables: &[&'static str]) -> Rules {
        let ruleset = |family| Ruleset {
            family,
            tables: tables.iter().filter_map(|name| Table::standard(name)).collect(),
        };
        Rules {
            rulesets: FAMILIES.map(ruleset),
            sets: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn put(&mut self, family: Family, table: &'static str, hook: Hook, list: List) {
        let List {
            rules,
            origins,
            policy,
            chains,
        } = list;
        let ruleset = self.rulesets.iter_mut().find(|ruleset| ruleset.family == family);
        let Some(known) = ruleset.and_then(|ruleset| ruleset.table_mut(table)) else {
            return;
        };
        let mut note = |chain: &str, origins| {
            self.origins.push(ChainOrigins {
                family,
                table,
                chain: chain.to_owned(),
                origins,
            });
        };
        if let Some(chain) = known.chain_mut(hook.chain()) {
            (chain.rules, chain.policy) = (rules, Some(policy));
            note(hook.chain(), origins);
        }
        for (name, list) in chains {
            note(&name, list.origins);
            known.chains.push(Chain {
                rules: list.rules,
                ..Chain::user(name)
            });
        }
    }
}
