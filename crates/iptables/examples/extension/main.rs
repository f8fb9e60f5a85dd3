//! A match and a target of one's own, used as the built-in ones are: in rules, in save files, in the help, on packets.
//!
//! `cargo run -p fielato-iptables --example extension`

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use fielato_iptables::{FileNames, Parser, Program, Registry, execute, save};
use fielato_netfilter::conntrack::Config;
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Route, RouteKey};
use fielato_netfilter::{Host, Interface, Netfilter, Now, Packet, Ruleset};
use fielato_wire::{Addr, Family, checksum};

mod parity;
mod sample;

/// The built-in extensions and ours.
fn registry() -> Registry {
    let mut registry = Registry::builtin();
    registry.register_match(Arc::new(parity::ParitySyntax));
    registry.register_target(Arc::new(sample::SampleSyntax));
    registry
}

/// The rule set that this command makes.
fn rules(command: &str, registry: &Registry, names: &FileNames) -> Result<Ruleset, Box<dyn Error>> {
    let mut rules = Ruleset::new(Family::V4);
    let parser = Parser {
        family: Family::V4,
        program: &Program::legacy("iptables"),
        registry,
        names,
        restore: None,
    };
    let words: Vec<&str> = command.split(' ').collect();
    execute(&parser.parse(&words)?, &mut rules, registry, names, &mut Default::default())?;
    Ok(rules)
}

/// Marks of packets from 10.0.0.1, 10.0.0.2 and so on behind these rules.
fn marks(rules: Ruleset) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut netfilter = Netfilter::new(Config::default(), 1);
    let replace = Command::Replace {
        ruleset: rules,
        generation: None,
    };
    netfilter.execute(Caller::Admin, replace, Now::default())?;
    let mut marks = Vec::new();
    for last in 1..=8 {
        let packet = Packet::received(udp_from(last), Interface::new(1, "eth0").unwrap_or_default())
            .map_err(|malformed| malformed.name())?;
        if let Fate::Transmit(packet) = netfilter.receive(packet, &mut Router, Now::default()) {
            marks.push(packet.mark);
        }
    }
    Ok(marks)
}

fn udp_from(last: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, last, 10, 1, 0, 1];
    let check = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet.extend_from_slice(&[4, 0, 0, 53, 0, 8, 0, 0]);
    packet
}

/// Everything goes out by eth1.
struct Router;

impl Host for Router {
    fn route(&mut self, _key: &RouteKey) -> Route {
        Route::Out {
            interface: Interface::new(2, "eth1").unwrap_or_default(),
            mtu: 1500,
            realm: 0,
        }
    }

    fn address_type(&mut self, _family: Family, _address: Addr, _interface: Option<Interface>) -> AddressType {
        AddressType::Unicast
    }

    fn interface_address(&mut self, _family: Family, _interface: Interface, _dst: Addr) -> Option<Addr> {
        Some(Ipv4Addr::new(10, 1, 0, 254).into())
    }
}

const COMMAND: &str = "-t mangle -A FORWARD -m parity ! --odd -j SAMPLE --every 2";

fn main() -> Result<(), Box<dyn Error>> {
    let (registry, names) = (registry(), FileNames::new());
    let rules = rules(COMMAND, &registry, &names)?;
    print!("{}", save::ruleset(&rules, &registry, &names, Default::default()));
    for (last, mark) in marks(rules)?.into_iter().enumerate() {
        println!("10.0.0.{}: mark {mark}", last + 1);
    }
    if let Some(syntax) = registry.find_match("parity", Family::V4) {
        print!("{}", syntax.help(Family::V4));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_in_rules_save_files_and_on_packets() {
        let (registry, names) = (registry(), FileNames::new());
        let made = rules(COMMAND, &registry, &names).unwrap();
        let text = save::ruleset(&made, &registry, &names, Default::default());
        assert!(text.contains("-A FORWARD -m parity ! --odd -j SAMPLE --every 2\n"), "{text}");
        // Of the even ones, every second.
        assert_eq!(marks(made).unwrap(), [0, 0, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn refuses_what_it_does_not_allow() {
        let (registry, names) = (registry(), FileNames::new());
        for command in [
            "-t filter -A FORWARD -j SAMPLE --every 2",
            "-t mangle -A FORWARD -j SAMPLE --every 0",
            "-t mangle -A FORWARD -m parity -j ACCEPT",
        ] {
            assert!(rules(command, &registry, &names).is_err(), "{command}");
        }
    }

    #[test]
    fn is_in_the_help() {
        let (registry, names) = (registry(), FileNames::new());
        let parser = Parser {
            family: Family::V4,
            program: &Program::legacy("iptables"),
            registry: &registry,
            names: &names,
            restore: None,
        };
        let help = parser.parse(&["-m", "parity", "-j", "SAMPLE", "-h"]);
        let text = format!("{help:?}");
        assert!(text.contains("--odd") && text.contains("--every N"), "{text}");
    }
}
