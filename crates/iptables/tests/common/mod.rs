//! A machine without files, and a router that runs its rules.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::net::IpAddr;

use fielato_iptables::command::Wait;
use fielato_iptables::iptc::{Memory, Store};
use fielato_iptables::program::{Exit, World};
use fielato_iptables::{BuiltinNames, Error, Output, Parser, Program, Registry, execute};
use fielato_netfilter::host::{AddressType, Route, RouteKey};
use fielato_netfilter::{Host, Interface, Ruleset};
use fielato_wire::{Addr, Family};

/// Runs a command of `iptables` or `ip6tables` over `rules`.
pub fn run(rules: &mut Ruleset, words: &[&str]) -> Result<Output, Error> {
    let (registry, names) = (Registry::builtin(), BuiltinNames);
    let parser = Parser {
        family: rules.family,
        program: &Program::legacy(match rules.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }),
        registry: &registry,
        names: &names,
        restore: None,
    };
    let mut output = Output::default();
    execute(&parser.parse(words)?, rules, &registry, &names, &mut output)?;
    Ok(output)
}

/// The tables, what a program reads, and what it says.
#[derive(Default)]
pub struct Machine {
    pub tables: Memory,
    pub input: String,
    pub out: String,
    pub err: String,
}

impl World for Machine {
    fn lock(&mut self, _: Wait) -> Result<(), Exit> {
        Ok(())
    }

    fn unlock(&mut self) {}

    fn store(&mut self) -> &mut dyn Store {
        &mut self.tables
    }

    fn read(&mut self, _: Option<&str>) -> Result<String, Exit> {
        Ok(self.input.clone())
    }

    fn write(&mut self, _: Option<&str>, text: &str) -> Result<(), Exit> {
        self.out += text;
        Ok(())
    }

    fn complain(&mut self, text: &str) {
        self.err += text;
    }

    fn date(&self) -> String {
        String::new()
    }
}

pub fn address(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A router between two interfaces of these names: 10.0.0.0/24 and 2001:db8::/64 (itself 10.0.0.1, 2001:db8::1) and everything
/// else (itself 192.0.2.1, 2001:db8:2::1).
#[derive(Clone, Copy)]
pub struct Router(pub [&'static str; 2]);

impl Router {
    pub fn interface(self, number: u32) -> Interface {
        Interface::new(number + 1, self.0[number as usize]).unwrap()
    }
}

impl Host for Router {
    fn route(&mut self, key: &RouteKey) -> Route {
        if self.address_type(key.family, key.dst, None) == AddressType::Local {
            return Route::Local;
        }
        let (inside, mask) = match key.family {
            Family::V4 => (address("10.0.0.0"), Addr::mask(Family::V4, 24)),
            Family::V6 => (address("2001:db8::"), Addr::mask(Family::V6, 64)),
        };
        Route::Out {
            interface: self.interface(u32::from(!key.dst.within(inside, mask))),
            mtu: 1500,
            realm: 0,
        }
    }

    fn address_type(&mut self, _: Family, wanted: Addr, _: Option<Interface>) -> AddressType {
        let own = ["10.0.0.1", "192.0.2.1", "2001:db8::1", "2001:db8:2::1"];
        match own.iter().any(|own| address(own) == wanted) {
            true => AddressType::Local,
            false => AddressType::Unicast,
        }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, _: Addr) -> Option<Addr> {
        Some(address(match (family, interface.index) {
            (Family::V4, 1) => "10.0.0.1",
            (Family::V4, _) => "192.0.2.1",
            (Family::V6, 1) => "2001:db8::1",
            (Family::V6, _) => "2001:db8:2::1",
        }))
    }
}
