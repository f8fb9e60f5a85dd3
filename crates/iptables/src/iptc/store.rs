//! Where tables live, and how a changed table gets back there: no count is lost, and no update of another writer.

use fielato_netfilter::{Counters, Ruleset, Table};
use fielato_wire::Family;

use super::{ChainSources, CounterSource, Handle};
use crate::error::Failure;
use crate::execute::check;

/// A place where tables live. A generation counts its changes.
pub trait Store {
    /// A table and the generation it was read at. A standard table that isn't there yet is made; another name is
    /// [`Failure::NoTable`].
    fn load(&mut self, family: Family, table: &str) -> Result<(Table, u64), Failure>;

    /// Puts a table in its place if nothing has changed since `generation`, else [`Failure::Stale`]. `sources` says which
    /// counters go on counting: [`settle`] does the sums.
    fn commit(&mut self, family: Family, table: Table, sources: &[ChainSources], generation: u64) -> Result<(), Failure>;

    /// The names of the tables there are, in the order in which they were made.
    fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure>;
}

impl Handle {
    /// Takes a table out of a store.
    pub fn open(store: &mut dyn Store, family: Family, table: &str) -> Result<Handle, Failure> {
        let (table, generation) = store.load(family, table)?;
        Ok(Handle {
            generation,
            ..Handle::init(table)
        })
    }

    /// Brings it back: the counters that weren't touched go on from where the live ones stand by then.
    pub fn commit(self, store: &mut dyn Store, family: Family) -> Result<(), Failure> {
        let Handle {
            table,
            sources,
            generation,
            ..
        } = self;
        store.commit(family, table, &sources, generation)
    }
}

/// Opens a table, changes it, commits; starts again when another writer committed in between, `attempts` times at most.
pub fn retry<E: From<Failure>>(
    store: &mut dyn Store,
    family: Family,
    table: &str,
    attempts: usize,
    mut change: impl FnMut(&mut Handle) -> Result<(), E>,
) -> Result<(), E> {
    for _ in 0..attempts {
        let mut handle = Handle::open(store, family, table)?;
        change(&mut handle)?;
        match handle.commit(store, family) {
            Err(Failure::Stale) => continue,
            result => return Ok(result?),
        }
    }
    Err(Failure::Stale.into())
}

/// Brings the counters of a changed table up to date with the live one that it is to replace. Both came from the same load.
pub fn settle(table: &mut Table, sources: &[ChainSources], live: &Table) {
    for (chain, sources) in table.chains.iter_mut().zip(sources) {
        if let Some(source) = sources.policy {
            settled(&mut chain.counters, source, live);
        }
        for (rule, source) in chain.rules.iter_mut().zip(&sources.rules) {
            settled(&mut rule.counters, *source, live);
        }
    }
}

fn settled(counters: &mut Counters, source: CounterSource, live: &Table) {
    let at = |chain: usize, rule: Option<usize>| {
        let chain = live.chains.get(chain)?;
        match rule {
            None => Some(chain.counters),
            Some(rule) => chain.rules.get(rule).map(|rule| rule.counters),
        }
    };
    match source {
        CounterSource::Set => {}
        CounterSource::Live { chain, rule } => *counters = at(chain, rule).unwrap_or(*counters),
        CounterSource::LiveLess { chain, rule, seen } => {
            let now = at(chain, rule).unwrap_or(seen);
            *counters = Counters {
                packets: now.packets.saturating_sub(seen.packets),
                bytes: now.bytes.saturating_sub(seen.bytes),
            };
        }
    }
}

/// Tables in memory, of both families.
#[derive(Clone, Debug)]
pub struct Memory {
    /// IPv4's.
    pub v4: Ruleset,
    /// IPv6's.
    pub v6: Ruleset,
    /// Counts the changes.
    pub generation: u64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            v4: Ruleset::new(Family::V4),
            v6: Ruleset::new(Family::V6),
            generation: 0,
        }
    }
}

impl Memory {
    /// One family's tables.
    pub fn ruleset(&self, family: Family) -> &Ruleset {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// One family's tables, to be changed.
    pub fn ruleset_mut(&mut self, family: Family) -> &mut Ruleset {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl Store for Memory {
    fn load(&mut self, family: Family, name: &str) -> Result<(Table, u64), Failure> {
        let rules = self.ruleset_mut(family);
        let table = match rules.table(name) {
            Some(table) => table.clone(),
            None => {
                let table = Table::standard(name).ok_or(Failure::NoTable)?;
                rules.tables.push(table.clone());
                table
            }
        };
        Ok((table, self.generation))
    }

    fn commit(&mut self, family: Family, mut table: Table, sources: &[ChainSources], generation: u64) -> Result<(), Failure> {
        if generation != self.generation {
            return Err(Failure::Stale);
        }
        check(&table, family)?;
        let live = self.ruleset_mut(family).table_mut(&table.name).ok_or(Failure::NoTable)?;
        settle(&mut table, sources, live);
        *live = table;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure> {
        let tables = &self.ruleset(family).tables;
        Ok(tables.iter().map(|table| table.name.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fielato_netfilter::rule::Policy;
    use fielato_netfilter::{Rule, Target};

    fn rule(target: Target) -> Rule {
        Rule {
            target,
            ..Rule::default()
        }
    }

    fn counters(packets: u64) -> Counters {
        Counters {
            packets,
            bytes: 100 * packets,
        }
    }

    /// A store whose INPUT holds rules that accept, drop and return, and counted 1, 2 and 3 packets.
    fn store() -> Memory {
        let mut store = Memory::default();
        retry::<Failure>(&mut store, Family::V4, "filter", 1, |handle| {
            for (count, target) in [Target::Accept, Target::Drop, Target::Return].into_iter().enumerate() {
                handle.append_entry("INPUT", rule(target))?;
                handle.set_counter("INPUT", count, counters(count as u64 + 1))?;
            }
            Ok(())
        })
        .unwrap();
        store
    }

    fn count(store: &mut Memory, number: usize, packets: u64) {
        let chain = store
            .v4
            .table_mut("filter")
            .and_then(|table| table.chain_mut("INPUT"))
            .unwrap();
        chain.rules[number].counters.add(packets, 100 * packets);
        chain.counters.add(packets, 100 * packets);
    }

    fn counted(store: &Memory) -> Vec<u64> {
        let chain = store.v4.table("filter").and_then(|table| table.chain("INPUT")).unwrap();
        let rules = chain.rules.iter().map(|rule| rule.counters.packets);
        std::iter::once(chain.counters.packets).chain(rules).collect()
    }

    #[test]
    fn what_is_counted_meanwhile_is_kept() {
        let mut store = store();
        let mut handle = Handle::open(&mut store, Family::V4, "filter").unwrap();
        handle.insert_entry("INPUT", rule(Target::Queue), 0).unwrap();
        handle.delete_num_entry("INPUT", 2).unwrap();
        handle.zero_counter("INPUT", 2).unwrap();
        for number in 0..3 {
            count(&mut store, number, 10);
        }
        handle.commit(&mut store, Family::V4).unwrap();
        // The policy and the first rule go on counting, the zeroed third keeps what came since.
        assert_eq!(counted(&store), [30, 0, 11, 10]);
    }

    #[test]
    fn a_whole_chain_is_zeroed() {
        let mut store = store();
        count(&mut store, 0, 5);
        let mut handle = Handle::open(&mut store, Family::V4, "filter").unwrap();
        handle.zero_entries("INPUT").unwrap();
        count(&mut store, 1, 4);
        handle.commit(&mut store, Family::V4).unwrap();
        assert_eq!(counted(&store), [4, 0, 4, 0]);
    }

    #[test]
    fn the_slower_writer_is_told_and_tries_again() {
        let mut store = store();
        let mut slow = Handle::open(&mut store, Family::V4, "filter").unwrap();
        slow.append_entry("INPUT", rule(Target::Accept)).unwrap();
        retry::<Failure>(&mut store, Family::V4, "filter", 3, |handle| {
            handle.set_policy("INPUT", Policy::Drop, None)
        })
        .unwrap();
        assert_eq!(slow.commit(&mut store, Family::V4), Err(Failure::Stale));
        let mut tries = 0;
        let result = retry::<Failure>(&mut store, Family::V4, "filter", 3, |handle| {
            tries += 1;
            handle.append_entry("INPUT", rule(Target::Accept))
        });
        assert_eq!((result, tries), (Ok(()), 1));
        let input = store.v4.table("filter").and_then(|table| table.chain("INPUT")).unwrap();
        assert_eq!((input.policy, input.rules.len()), (Some(Policy::Drop), 4));
    }

    /// A store that another writer changes just before each of its first commits.
    struct Contended(Memory, usize);

    impl Store for Contended {
        fn load(&mut self, family: Family, table: &str) -> Result<(Table, u64), Failure> {
            self.0.load(family, table)
        }

        fn commit(&mut self, family: Family, table: Table, sources: &[ChainSources], seen: u64) -> Result<(), Failure> {
            if self.1 > 0 {
                self.1 -= 1;
                self.0.generation += 1;
            }
            self.0.commit(family, table, sources, seen)
        }

        fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure> {
            self.0.tables(family)
        }
    }

    #[test]
    fn retries_are_bounded() {
        for (others, result, rules) in [(2, Ok(()), 4), (3, Err(Failure::Stale), 3)] {
            let mut store = Contended(store(), others);
            let append = |handle: &mut Handle| handle.append_entry("INPUT", rule(Target::Accept));
            assert_eq!(retry(&mut store, Family::V4, "filter", 3, append), result);
            assert_eq!(counted(&store.0).len() - 1, rules);
        }
    }
}
