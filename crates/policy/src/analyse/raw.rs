//! What the analysis has to know of rules in iptables' words, and of published ports: they let pass, or stop, what the file's rules
//! never see.
//!
//! Such a rule may ask for anything. Only its addresses and its protocol are looked at: what it may take, not what it takes. Nothing is
//! told of packets that it may take, and so nothing false.

use fielato_netfilter::Target;
use fielato_netfilter::rule::{AddressMatch, Rule};
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use super::chain::{everything, nets, services};
use super::ranges::{Range, Ranges};
use super::region::{ANY_SERVICE, Region};
use crate::config::RawTable;
use crate::plan::{Addresses, Firewall, Published};
use crate::raw;

/// What the raw rules of a chain may do.
#[derive(Default)]
pub(super) struct Raw {
    /// Packets over which one may decide before any rule of the file.
    pub before: Vec<Region>,
    /// Packets that one may let pass, wherever it stands.
    pub accepted: Vec<Region>,
}

impl Raw {
    /// Of `FORWARD` or `INPUT`.
    pub fn of(firewall: &Firewall, chain: &str, family: Family) -> Raw {
        let mut found = Raw::default();
        let there = firewall
            .raw
            .iter()
            .filter(|raw| raw.table == RawTable::Filter && raw.chain == chain);
        for raw in there {
            for rule in raw::rules(raw, family) {
                match rule.target {
                    // The packet goes on to the next rule.
                    Target::None | Target::Log(_) | Target::Nflog(_) => continue,
                    Target::Drop | Target::Reject(_) => {}
                    _ => found.accepted.push(region(&rule, family)),
                }
                if !raw.after {
                    found.before.push(region(&rule, family));
                }
            }
        }
        found
    }
}

/// Packets that may be sent on to elsewhere before they are judged, by published ports and by raw rules of `PREROUTING`.
pub(super) fn translated(firewall: &Firewall, family: Family) -> Vec<Region> {
    let raw = firewall.raw.iter().filter(|raw| raw.chain == "PREROUTING");
    let raw = raw.flat_map(|raw| raw::rules(raw, family)).map(|rule| region(&rule, family));
    // Where no address is said, they are for what comes by the uplink.
    let published = firewall.published.iter().filter(|published| !published.at.is_empty());
    raw.chain(published.map(|published| at(firewall, published, family)))
        .collect()
}

fn at(firewall: &Firewall, published: &Published, family: Family) -> Region {
    let at: Vec<IpNet> = published.at.iter().copied().map(IpNet::from).collect();
    let from = published.from.iter().map(|from| match from {
        Addresses::Any => everything(family),
        Addresses::Nets(some) => nets(some, family),
        Addresses::Except(some) => everything(family).without(&nets(some, family)),
        Addresses::Set(name) => nets(firewall.sets.get(name).map_or(&[][..], Vec::as_slice), family),
    });
    let from: Vec<Range> = from.flat_map(|ranges| ranges.as_slice().to_vec()).collect();
    Region {
        src: Ranges::new(from),
        dst: nets(&at, family),
        service: services(&[published.port]),
    }
}

/// What a rule may take, as far as its addresses and its protocol say.
fn region(rule: &Rule, family: Family) -> Region {
    let protocol = &rule.ip.protocol;
    let number = u128::from(protocol.number);
    Region {
        src: addresses(&rule.ip.source, family),
        dst: addresses(&rule.ip.destination, family),
        service: Ranges::One(match protocol.negated || protocol.number == 0 {
            true => ANY_SERVICE,
            false => (number << 16, number << 16 | 0xffff),
        }),
    }
}

fn addresses(address: &AddressMatch, family: Family) -> Ranges {
    let host = address.mask.not(family).to_bits();
    // A mask may be anything; only a prefix is a range.
    if address.is_any() || address.negated || host & host.wrapping_add(1) != 0 {
        return everything(family);
    }
    Ranges::One((address.network.to_bits(), address.network.or(Addr::from_bits(host)).to_bits()))
}
