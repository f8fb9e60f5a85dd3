//! The answering side.

use fielato_netfilter::Ruleset;
use fielato_netfilter::syntax::Names;
use fielato_wire::Family;

use super::{Request, Response, sources};
use crate::error::Failure;
use crate::iptc::Store;
use crate::print::{SaveOptions, ruleset};
use crate::registry::Registry;
use crate::restore;

/// Answers a request from `store`.
pub fn serve(request: &Request, store: &mut dyn Store, registry: &Registry, names: &dyn Names) -> Response {
    let served = match request {
        Request::Save(family) => save(*family, store, registry, names),
        Request::Restore {
            family,
            generation,
            text,
        } => replace(*family, *generation, text, store, registry, names),
    };
    served.unwrap_or_else(|failure| Response::Error(failure.to_string()))
}

fn save(family: Family, store: &mut dyn Store, registry: &Registry, names: &dyn Names) -> Result<Response, Failure> {
    let mut rules = Ruleset::new(family);
    let mut generation = 0;
    for name in store.tables(family)? {
        let (table, read) = store.load(family, &name)?;
        generation = read;
        rules.tables.push(table);
    }
    if rules.tables.is_empty() {
        // An empty rule set has a generation all the same.
        generation = store.load(family, "filter")?.1;
    }
    let options = SaveOptions {
        counters: true,
        complete: true,
        ..SaveOptions::default()
    };
    Ok(Response::Ok {
        generation,
        text: ruleset(&rules, registry, names, options),
    })
}

fn replace(
    family: Family,
    generation: u64,
    text: &str,
    store: &mut dyn Store,
    registry: &Registry,
    names: &dyn Names,
) -> Result<Response, Failure> {
    let rules = restore::parse(text, family, registry, names).map_err(|error| match error.error {
        crate::Error::Failed(failure) => failure,
        _ => Failure::Store(error.to_string()),
    })?;
    let mut generation = generation;
    for table in rules.tables {
        let (live, current) = store.load(family, &table.name)?;
        if current != generation {
            return Ok(Response::Stale { generation: current });
        }
        let name = table.name.clone();
        let sources = sources::decode(text, &table, &live);
        match store.commit(family, table, &sources, current) {
            Err(Failure::Stale) => return Ok(Response::Stale { generation: current }),
            result => result?,
        }
        generation = store.load(family, &name)?.1;
    }
    Ok(Response::Ok {
        generation,
        text: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::RemoteStore;
    use super::*;
    use crate::iptc::{Handle, Memory, retry};
    use crate::names::BuiltinNames;
    use fielato_netfilter::{Rule, Target};
    use std::cell::RefCell;

    fn count(engine: &RefCell<Memory>, chain: &str, packets: u64) {
        let mut engine = engine.borrow_mut();
        let chain = engine
            .v6
            .table_mut("filter")
            .and_then(|table| table.chain_mut(chain))
            .unwrap();
        chain.counters.add(packets, 0);
        chain.rules.iter_mut().for_each(|rule| rule.counters.add(packets, 0));
    }

    #[test]
    fn a_remote_table_is_changed_and_loses_no_count() {
        let registry = Registry::builtin();
        let engine = RefCell::new(Memory::default());
        let ask = |request: &Request| {
            let answer = serve(request, &mut *engine.borrow_mut(), &registry, &BuiltinNames);
            let sent = answer.encode();
            Ok(Response::decode(sent.as_bytes()).unwrap().unwrap().0)
        };
        let mut store = RemoteStore::new(ask, &registry, &BuiltinNames);
        let rule = |target| Rule {
            target,
            ..Rule::default()
        };
        retry::<Failure>(&mut store, Family::V6, "filter", 1, |handle| {
            handle.create_chain("z")?;
            handle.create_chain("a")?;
            handle.append_entry("z", rule(Target::Accept))?;
            handle.append_entry("z", rule(Target::Drop))?;
            handle.append_entry("INPUT", rule(Target::Jump("z".to_owned())))
        })
        .unwrap();
        count(&engine, "z", 5);
        let mut slow = Handle::open(&mut store, Family::V6, "filter").unwrap();
        slow.insert_entry("z", rule(Target::Return), 0).unwrap();
        slow.zero_counter("z", 2).unwrap();
        count(&engine, "z", 3);
        count(&engine, "INPUT", 9);
        slow.commit(&mut store, Family::V6).unwrap();
        let counted = |chain: &str| -> Vec<u64> {
            let engine = engine.borrow();
            let chain = engine.v6.table("filter").and_then(|table| table.chain(chain)).unwrap();
            chain.rules.iter().map(|rule| rule.counters.packets).collect()
        };
        assert_eq!((counted("z"), counted("INPUT")), (vec![0, 8, 3], vec![9]));

        let mut stale = Handle::open(&mut store, Family::V6, "filter").unwrap();
        stale.flush_entries("z").unwrap();
        retry::<Failure>(&mut store, Family::V6, "filter", 1, |handle| handle.create_chain("other")).unwrap();
        assert_eq!(stale.commit(&mut store, Family::V6), Err(Failure::Stale));

        let mut looping = Handle::open(&mut store, Family::V6, "filter").unwrap();
        looping.insert_entry("z", rule(Target::Jump("z".to_owned())), 0).unwrap();
        assert_eq!(looping.commit(&mut store, Family::V6), Err(Failure::Loop));
    }
}
