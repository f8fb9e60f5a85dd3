//! Routing tables: the longest prefix decides, and of equals the least metric.

use std::collections::HashMap;
use std::net::IpAddr;

use fielato_wire::{Addr, Family};

use crate::config::{Config, ConfigError, PortId, Route, RouteKind};
use crate::prefix::{PrefixMap, family_of};

/// A route in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) port: PortId,
    pub(crate) via: Option<IpAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) kind: RouteKind,
    metric: u32,
}

/// Tables by number.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: HashMap<u32, PrefixMap<Entry>>,
}

impl Tables {
    pub(super) fn new(config: &Config) -> Result<Tables, ConfigError> {
        let mut tables = Tables::default();
        for port in &config.ports {
            for address in port.addresses.iter().filter(|net| net.prefix_len() < net.max_prefix_len()) {
                let source = Some(address.addr());
                tables.add(&Route {
                    source,
                    ..Route::to(address.trunc(), port.id)
                });
            }
        }
        for route in &config.routes {
            let what = || format!("the route to {}", route.net);
            if route.kind == RouteKind::Unicast && !config.ports.iter().any(|port| port.id == route.port) {
                return Err(ConfigError::NoPort {
                    what: what(),
                    port: route.port,
                });
            }
            let family = family_of(route.net.addr());
            if [route.via, route.source]
                .into_iter()
                .flatten()
                .any(|address| family_of(address) != family)
            {
                return Err(ConfigError::Family(what()));
            }
            tables.add(route);
        }
        Ok(tables)
    }

    fn add(&mut self, route: &Route) {
        let Route {
            net,
            port,
            via,
            table,
            metric,
            source,
            kind,
        } = *route;
        let entry = Entry {
            port,
            via,
            source,
            kind,
            metric,
        };
        let table = self.tables.entry(table).or_default();
        match table.get_mut(net) {
            Some(known) if known.metric <= metric => {}
            Some(known) => *known = entry,
            None => drop(table.insert(net, entry)),
        }
    }

    pub(super) fn find(&self, table: u32, family: Family, address: Addr) -> Option<(u8, &Entry)> {
        self.tables.get(&table)?.find(family, address)
    }
}
