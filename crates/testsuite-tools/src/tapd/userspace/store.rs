//! The engine's tables as a place where rules live.

use fielato_iptables::Failure;
use fielato_iptables::iptc::{ChainSources, Store, settle};
use fielato_netfilter::engine::command::{Caller, Command, CommandError};
use fielato_netfilter::{Netfilter, Now, Ruleset, Table};
use fielato_wire::Family;

/// The tables of an engine, at a moment. Between a load and the counters' settling no packet passes: both happen here.
pub struct EngineStore<'a> {
    /// The engine.
    pub engine: &'a mut Netfilter,
    /// When.
    pub now: Now,
}

impl EngineStore<'_> {
    fn replace(&mut self, family: Family, table: Table) -> Result<(), Failure> {
        let mut ruleset = Ruleset::new(family);
        ruleset.tables.push(table);
        let command = Command::Replace {
            ruleset,
            generation: Some(self.engine.generation(family)),
        };
        match self.engine.execute(Caller::Admin, command, self.now) {
            Ok(_) => Ok(()),
            Err(CommandError::Stale) => Err(Failure::Stale),
            Err(error) => Err(Failure::Store(error.to_string())),
        }
    }
}

impl Store for EngineStore<'_> {
    fn load(&mut self, family: Family, name: &str) -> Result<(Table, u64), Failure> {
        // One that isn't there yet is made by the commit: making it here would be a change that the asker did not see.
        let known = self.engine.ruleset(family).table(name).cloned();
        let table = known.or_else(|| Table::standard(name)).ok_or(Failure::NoTable)?;
        Ok((table, self.engine.generation(family)))
    }

    fn commit(&mut self, family: Family, mut table: Table, sources: &[ChainSources], generation: u64) -> Result<(), Failure> {
        if generation != self.engine.generation(family) {
            return Err(Failure::Stale);
        }
        fielato_iptables::check(&table, family)?;
        let (live, _) = self.load(family, &table.name)?;
        settle(&mut table, sources, &live);
        self.replace(family, table)
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure> {
        let ruleset = self.engine.ruleset(family);
        Ok(ruleset.tables.iter().map(|table| table.name.clone()).collect())
    }
}
