//! libiptc's operations by their names: a table taken out, changed, and committed back.

mod store;

use std::collections::HashMap;

use fielato_netfilter::rule::{Chain, Policy};
use fielato_netfilter::{Counters, Rule, Table};

use crate::error::Failure;

pub use store::{Memory, Store, retry, settle};

/// Where a counter of a changed table comes from when the table is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterSource {
    /// What the table says.
    Set,
    /// What the live rule at this place of the loaded table has counted by then.
    Live {
        /// The chain's place among the loaded table's chains.
        chain: usize,
        /// The rule's place in it; `None` for the policy.
        rule: Option<usize>,
    },
    /// The same, less what it had counted when the table was loaded: it was zeroed.
    LiveLess {
        /// The chain's place among the loaded table's chains.
        chain: usize,
        /// The rule's place in it; `None` for the policy.
        rule: Option<usize>,
        /// What it had counted.
        seen: Counters,
    },
}

impl CounterSource {
    /// After zeroing, `seen` having been counted before.
    fn zeroed(self, seen: Counters) -> CounterSource {
        match self {
            CounterSource::Live { chain, rule } => CounterSource::LiveLess { chain, rule, seen },
            other => other,
        }
    }
}

/// The counter sources of a chain.
#[derive(Clone, Debug, Default)]
pub struct ChainSources {
    /// Of the policy.
    pub policy: Option<CounterSource>,
    /// Of the rules, in their order.
    pub rules: Vec<CounterSource>,
}

/// A table taken out to be changed (libiptc's handle). Rules are numbered from 0, as there.
#[derive(Clone, Debug)]
pub struct Handle {
    table: Table,
    sources: Vec<ChainSources>,
    /// Chains by name.
    index: HashMap<String, usize>,
    /// When it was taken.
    generation: u64,
}

impl Handle {
    /// Takes a table.
    pub fn init(table: Table) -> Handle {
        let sources = table.chains.iter().enumerate().map(|(chain, content)| ChainSources {
            policy: Some(CounterSource::Live { chain, rule: None }),
            rules: (0..content.rules.len())
                .map(|rule| CounterSource::Live { chain, rule: Some(rule) })
                .collect(),
        });
        let sources = sources.collect();
        let mut handle = Handle {
            table,
            sources,
            index: HashMap::new(),
            generation: 0,
        };
        handle.reindex();
        handle
    }

    fn reindex(&mut self) {
        self.index.clear();
        let chains = self.table.chains.iter().enumerate();
        self.index.extend(chains.map(|(number, chain)| (chain.name.clone(), number)));
    }

    /// The table as it stands.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The table, and where each chain's counters come from.
    pub fn into_parts(self) -> (Table, Vec<ChainSources>) {
        (self.table, self.sources)
    }

    fn find(&self, chain: &str) -> Result<usize, Failure> {
        self.index.get(chain).copied().ok_or(Failure::NotFound)
    }

    fn get(&self, chain: &str) -> Result<&Chain, Failure> {
        self.table.chains.get(self.find(chain)?).ok_or(Failure::NotFound)
    }

    fn get_mut(&mut self, chain: &str) -> Result<(&mut Chain, &mut ChainSources), Failure> {
        let number = self.find(chain)?;
        let chain = self.table.chains.get_mut(number).ok_or(Failure::NotFound)?;
        let sources = self.sources.get_mut(number).ok_or(Failure::NotFound)?;
        Ok((chain, sources))
    }

    /// Whether there is a chain of this name.
    pub fn is_chain(&self, chain: &str) -> bool {
        self.index.contains_key(chain)
    }

    /// The chains in the order of listings (`first_chain`, `next_chain`).
    pub fn chains(&self) -> Vec<&Chain> {
        crate::print::save::in_order(&self.table)
    }

    /// Whether it is a built-in chain.
    pub fn builtin(&self, chain: &str) -> bool {
        self.get_policy(chain).is_some()
    }

    /// A built-in chain's policy and counters.
    pub fn get_policy(&self, chain: &str) -> Option<(Policy, Counters)> {
        let chain = self.get(chain).ok()?;
        Some((chain.policy?, chain.counters))
    }

    /// A chain's rules (`first_rule`, `next_rule`).
    pub fn rules(&self, chain: &str) -> Result<&[Rule], Failure> {
        Ok(&self.get(chain)?.rules)
    }

    /// Puts a rule before the one of this number, or at the end.
    pub fn insert_entry(&mut self, chain: &str, rule: Rule, number: usize) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        if number > chain.rules.len() {
            return Err(Failure::InsertIndex);
        }
        chain.rules.insert(number, rule);
        sources.rules.insert(number, CounterSource::Set);
        Ok(())
    }

    /// Puts a rule in another's place.
    pub fn replace_entry(&mut self, chain: &str, rule: Rule, number: usize) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        let (Some(place), Some(source)) = (chain.rules.get_mut(number), sources.rules.get_mut(number)) else {
            return Err(Failure::ReplaceIndex);
        };
        (*place, *source) = (rule, CounterSource::Set);
        Ok(())
    }

    /// Puts a rule at the end.
    pub fn append_entry(&mut self, chain: &str, rule: Rule) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        chain.rules.push(rule);
        sources.rules.push(CounterSource::Set);
        Ok(())
    }

    /// Whether there is such a rule.
    pub fn check_entry(&self, chain: &str, rule: &Rule) -> Result<(), Failure> {
        match self.get(chain)?.rules.iter().any(|known| known.same(rule)) {
            true => Ok(()),
            false => Err(Failure::BadRule),
        }
    }

    /// Removes the first such rule.
    pub fn delete_entry(&mut self, chain: &str, rule: &Rule) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        let Some(number) = chain.rules.iter().position(|known| known.same(rule)) else {
            return Err(Failure::BadRule);
        };
        chain.rules.remove(number);
        sources.rules.remove(number);
        Ok(())
    }

    /// Removes the rule of this number.
    pub fn delete_num_entry(&mut self, chain: &str, number: usize) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        if number >= chain.rules.len() {
            return Err(Failure::DeleteIndex);
        }
        chain.rules.remove(number);
        sources.rules.remove(number);
        Ok(())
    }

    /// Removes all rules of a chain.
    pub fn flush_entries(&mut self, chain: &str) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        chain.rules.clear();
        sources.rules.clear();
        Ok(())
    }

    /// Zeroes the counters of a chain and its rules.
    pub fn zero_entries(&mut self, chain: &str) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        sources.policy = sources.policy.map(|source| source.zeroed(chain.counters));
        chain.counters = Counters::default();
        for (rule, source) in chain.rules.iter_mut().zip(&mut sources.rules) {
            *source = source.zeroed(rule.counters);
            rule.counters = Counters::default();
        }
        Ok(())
    }

    /// A rule's counters.
    pub fn read_counter(&self, chain: &str, number: usize) -> Result<Counters, Failure> {
        let rule = self.get(chain)?.rules.get(number).ok_or(Failure::CounterIndex)?;
        Ok(rule.counters)
    }

    /// Zeroes a rule's counters.
    pub fn zero_counter(&mut self, chain: &str, number: usize) -> Result<(), Failure> {
        self.change_counter(chain, number, |source, seen| source.zeroed(seen), Counters::default())
    }

    /// Sets a rule's counters.
    pub fn set_counter(&mut self, chain: &str, number: usize, counters: Counters) -> Result<(), Failure> {
        self.change_counter(chain, number, |_, _| CounterSource::Set, counters)
    }

    fn change_counter(
        &mut self,
        chain: &str,
        number: usize,
        change: impl FnOnce(CounterSource, Counters) -> CounterSource,
        counters: Counters,
    ) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain)?;
        let (Some(rule), Some(source)) = (chain.rules.get_mut(number), sources.rules.get_mut(number)) else {
            return Err(Failure::CounterIndex);
        };
        *source = change(*source, rule.counters);
        rule.counters = counters;
        Ok(())
    }

    /// Makes a chain.
    pub fn create_chain(&mut self, chain: &str) -> Result<(), Failure> {
        if self.is_chain(chain) || is_verdict(chain) {
            return Err(Failure::ChainExists);
        }
        if is_too_long(chain) {
            return Err(Failure::Invalid);
        }
        self.index.insert(chain.to_owned(), self.table.chains.len());
        self.table.chains.push(Chain::user(chain));
        self.sources.push(ChainSources::default());
        Ok(())
    }

    /// Removes an empty chain that nothing jumps to.
    pub fn delete_chain(&mut self, chain: &str) -> Result<(), Failure> {
        let number = self.find(chain)?;
        if self.builtin(chain) {
            return Err(Failure::Invalid);
        }
        if self.get_references(chain)? > 0 {
            return Err(Failure::References);
        }
        if !self.get(chain)?.rules.is_empty() {
            return Err(Failure::NotEmpty);
        }
        self.table.chains.remove(number);
        self.sources.remove(number);
        self.reindex();
        Ok(())
    }

    /// Removes all rules and all user chains.
    pub fn clear(&mut self) {
        for (chain, sources) in self.table.chains.iter_mut().zip(&mut self.sources) {
            chain.rules.clear();
            sources.rules.clear();
        }
        let builtin: Vec<bool> = self.table.chains.iter().map(|chain| chain.policy.is_some()).collect();
        let mut keep = builtin.iter().copied();
        self.table.chains.retain(|_| keep.next().unwrap_or(true));
        let mut keep = builtin.iter().copied();
        self.sources.retain(|_| keep.next().unwrap_or(true));
        self.reindex();
    }

    /// Gives a user chain another name, also where rules jump to it.
    pub fn rename_chain(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        use fielato_netfilter::Target;
        if self.is_chain(to) || is_verdict(to) {
            return Err(Failure::NameTaken);
        }
        let number = self.find(from)?;
        if self.builtin(from) {
            return Err(Failure::NotFound);
        }
        if is_too_long(to) {
            return Err(Failure::Invalid);
        }
        for rule in self.table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            if let Target::Jump(chain) | Target::Goto(chain) = &mut rule.target
                && chain == from
            {
                *chain = to.to_owned();
            }
        }
        if let Some(chain) = self.table.chains.get_mut(number) {
            chain.name = to.to_owned();
        }
        self.index.remove(from);
        self.index.insert(to.to_owned(), number);
        Ok(())
    }

    /// Sets a built-in chain's policy; its counters too, or to zero.
    pub fn set_policy(&mut self, chain: &str, policy: Policy, counters: Option<Counters>) -> Result<(), Failure> {
        let (chain, sources) = self.get_mut(chain).map_err(|_| Failure::BadChain)?;
        if chain.policy.is_none() {
            return Err(Failure::BadChain);
        }
        chain.policy = Some(policy);
        chain.counters = counters.unwrap_or_default();
        sources.policy = Some(CounterSource::Set);
        Ok(())
    }

    /// How many rules jump to a chain.
    pub fn get_references(&self, chain: &str) -> Result<usize, Failure> {
        use fielato_netfilter::Target;
        self.find(chain)?;
        let rules = self.table.chains.iter().flat_map(|known| &known.rules);
        let jumps = |rule: &&Rule| matches!(&rule.target, Target::Jump(to) | Target::Goto(to) if to == chain);
        Ok(rules.filter(jumps).count())
    }
}

/// libiptc takes two bytes more (`IPT_CHAINLABEL`); the kernel cuts such a name, and what iptables-save then writes
/// iptables-restore refuses.
fn is_too_long(chain: &str) -> bool {
    chain.len() >= crate::parse::MAX_NAME
}

/// Words that are no chain's name.
fn is_verdict(name: &str) -> bool {
    matches!(name, "ACCEPT" | "DROP" | "QUEUE" | "RETURN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chain_gets_a_name_that_save_files_refuse() {
        let mut handle = Handle::init(Table::standard("filter").unwrap());
        let (longest, too_long) = ("a".repeat(28), "a".repeat(29));
        handle.create_chain("user").unwrap();
        assert_eq!(handle.create_chain(&too_long), Err(Failure::Invalid));
        assert_eq!(handle.rename_chain("user", &too_long), Err(Failure::Invalid));
        assert!(handle.is_chain("user") && !handle.is_chain(&too_long));
        assert_eq!(handle.rename_chain("user", &longest), Ok(()));
        assert!(handle.is_chain(&longest) && !handle.is_chain("user"));
    }
}
