//! The asking side.

use fielato_netfilter::syntax::Names;
use fielato_netfilter::{Ruleset, Table};
use fielato_wire::Family;

use super::{Request, Response, sources};
use crate::error::Failure;
use crate::iptc::{ChainSources, Store};
use crate::print::{SaveOptions, table};
use crate::registry::Registry;
use crate::restore;

/// The tables of an engine that answers requests; `ask` carries them there and back.
pub struct RemoteStore<'a, F> {
    ask: F,
    registry: &'a Registry,
    names: &'a dyn Names,
    /// What was last read, with its generation.
    loaded: Option<(Ruleset, u64)>,
}

impl<'a, F: FnMut(&Request) -> Result<Response, Failure>> RemoteStore<'a, F> {
    /// A store that asks with `ask`.
    pub fn new(ask: F, registry: &'a Registry, names: &'a dyn Names) -> RemoteStore<'a, F> {
        RemoteStore {
            ask,
            registry,
            names,
            loaded: None,
        }
    }

    fn save(&mut self, family: Family) -> Result<&(Ruleset, u64), Failure> {
        let (generation, text) = match (self.ask)(&Request::Save(family))? {
            Response::Ok { generation, text } => (generation, text),
            Response::Stale { .. } => return Err(Failure::Stale),
            Response::Error(reason) => return Err(Failure::Store(reason)),
        };
        let rules = restore::parse(&text, family, self.registry, self.names)
            .map_err(|error| Failure::Store(format!("the engine's rules, {error}")))?;
        Ok(self.loaded.insert((rules, generation)))
    }
}

impl<F: FnMut(&Request) -> Result<Response, Failure>> Store for RemoteStore<'_, F> {
    fn load(&mut self, family: Family, name: &str) -> Result<(Table, u64), Failure> {
        let (rules, generation) = self.save(family)?;
        let known = rules.table(name).cloned();
        let table = known.or_else(|| Table::standard(name)).ok_or(Failure::NoTable)?;
        Ok((table, *generation))
    }

    fn commit(&mut self, family: Family, changed: Table, sources: &[ChainSources], generation: u64) -> Result<(), Failure> {
        let loaded = self.loaded.as_ref().and_then(|(rules, _)| rules.table(&changed.name));
        let mut text = loaded.map_or_else(String::new, |loaded| sources::encode(&changed, sources, loaded));
        let options = SaveOptions {
            counters: true,
            complete: true,
            ..SaveOptions::default()
        };
        table(&mut text, &changed, family, self.registry, self.names, options);
        let request = Request::Restore {
            family,
            generation,
            text,
        };
        match (self.ask)(&request)? {
            Response::Ok { .. } => Ok(()),
            Response::Stale { .. } => Err(Failure::Stale),
            Response::Error(reason) => Err(Failure::from_text(&reason)),
        }
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Failure> {
        let (rules, _) = self.save(family)?;
        Ok(rules.tables.iter().map(|table| table.name.clone()).collect())
    }
}
