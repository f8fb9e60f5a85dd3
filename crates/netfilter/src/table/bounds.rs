//! What the classifier may know of a rule, and of a packet.

use std::collections::HashMap;

use fielato_wire::{Addr, Family, number};

use crate::classify::{Bounds, Key};
use crate::rule::{AddressMatch, InterfaceMatch, Rule};
use crate::{InterfaceName, Packet};

/// Numbers for the interface names that rules of a table give in full.
#[derive(Debug, Default)]
pub(super) struct InterfaceNumbers {
    numbers: HashMap<InterfaceName, u32>,
    /// The names asked for last: packets come in trains.
    last: [(InterfaceName, u32); 2],
}

/// The number of a name that no rule gives.
const UNNAMED: u32 = u32::MAX;

impl InterfaceNumbers {
    /// The number of the name in a rule; `None` when the rule doesn't ask for one interface.
    fn of_rule(&mut self, interface: &InterfaceMatch) -> Option<u32> {
        if interface.is_any() || interface.prefix || interface.negated {
            return None;
        }
        let next = self.numbers.len() as u32;
        Some(*self.numbers.entry(interface.name).or_insert(next))
    }

    fn of_packet(&mut self, way: usize, name: InterfaceName) -> u32 {
        if self.numbers.is_empty() {
            return UNNAMED;
        }
        if self.last[way].0 != name || name.is_empty() {
            let number = self.numbers.get(&name).copied().unwrap_or(UNNAMED);
            self.last[way] = (name, number);
        }
        self.last[way].1
    }

    /// What the classifier looks at in a packet; `None` when it must not be asked: a transport header that is cut short makes
    /// some matches ask for the packet's drop, so that every rule must see it.
    pub(super) fn key(&mut self, packet: &Packet) -> Option<Key> {
        let headers = &packet.headers;
        let transport = matches!(
            headers.protocol,
            number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
        );
        // An offset of 8 bytes would overwrite TCP's flags: such fragments are dropped by the tcp match.
        let suspect = transport && !headers.l4_whole && (headers.fragment_offset == 0 || headers.fragment_offset == 8);
        // Any rule with a protocol drops these.
        let suspect = suspect || headers.lacks_protocol();
        (!suspect).then(|| Key {
            src: headers.src,
            dst: headers.dst,
            protocol: headers.protocol,
            sport: headers.sport,
            dport: headers.dport,
            in_interface: self.of_packet(0, packet.in_interface.name),
            out_interface: self.of_packet(1, packet.out_interface.name),
        })
    }
}

/// A box that holds every packet the rule can hold for.
pub(super) fn of_rule(rule: &Rule, family: Family, interfaces: &mut InterfaceNumbers) -> Bounds {
    let ip = &rule.ip;
    let mut bounds = Bounds {
        in_interface: interfaces.of_rule(&ip.in_interface),
        out_interface: interfaces.of_rule(&ip.out_interface),
        src: addresses(&ip.source, family),
        dst: addresses(&ip.destination, family),
        protocol: (ip.protocol.number != 0 && !ip.protocol.negated).then_some(ip.protocol.number),
        ..Bounds::ANY
    };
    for m in &rule.matches {
        m.narrow(&mut bounds);
        // Matches are asked in order, and one that counts must meet every packet that those before it hold for.
        if !m.only_looks() {
            break;
        }
    }
    let Bounds {
        src, dst, sport, dport, ..
    } = &bounds;
    if src.0 > src.1 || dst.0 > dst.1 || sport.0 > sport.1 || dport.0 > dport.1 {
        // It holds for no packet at all; comparing in full will say so.
        return Bounds::ANY;
    }
    bounds
}

fn addresses(address: &AddressMatch, family: Family) -> (Addr, Addr) {
    let host = address.mask.not(family).to_bits();
    // Only a prefix is a range.
    if address.is_any() || address.negated || host & host.wrapping_add(1) != 0 {
        return Bounds::ANY.src;
    }
    (address.network, address.network.or(Addr::from_bits(host)))
}
