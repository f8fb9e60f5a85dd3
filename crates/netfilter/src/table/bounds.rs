//! What the classifier may know of a rule, and of a packet.

use std::collections::HashMap;

use fielato_wire::{Addr, Family, number};

use crate::classify::{Bounds, Key};
use crate::rule::{AddressMatch, InterfaceMatch, Rule};
use crate::{Interface, InterfaceName, Packet};

/// Numbers for the interface names that rules of a table give in full.
#[derive(Debug, Default)]
pub(super) struct InterfaceNumbers {
    numbers: HashMap<InterfaceName, u32>,
    /// The numbers of the names asked for last, by the low bits of the interface's index.
    last: [(InterfaceName, u32); LAST],
}

/// A machine's busy interfaces are few.
const LAST: usize = 16;

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

    #[inline]
    fn of_packet(&mut self, interface: &Interface) -> u32 {
        if self.numbers.is_empty() || interface.name.is_empty() {
            return UNNAMED;
        }
        let last = &mut self.last[interface.index as usize % LAST];
        if last.0 != interface.name {
            *last = (interface.name, self.numbers.get(&interface.name).copied().unwrap_or(UNNAMED));
        }
        last.1
    }

    /// What the classifier looks at in a packet; `None` when it must not be asked: a transport header that is cut short makes
    /// some matches ask for the packet's drop, so that every rule must see it.
    #[inline]
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
            in_interface: self.of_packet(&packet.in_interface),
            out_interface: self.of_packet(&packet.out_interface),
        })
    }
}

/// Whether a packet is one for which a rule's box may say all that the rule asks ([`of_rule`]); it has a [`Key`].
#[inline]
pub(super) fn is_ordinary(packet: &Packet) -> bool {
    !packet.headers.is_fragment() && packet.headers.extensions.0 == 0
}

/// A box that holds every packet the rule can hold for, and whether the rule holds for every ordinary packet in it.
pub(super) fn of_rule(rule: &Rule, family: Family, interfaces: &mut InterfaceNumbers) -> (Bounds, bool) {
    let ip = &rule.ip;
    let asks_more = |interface: &InterfaceMatch| !interface.is_any() && (interface.prefix || interface.negated);
    let mut exact = is_prefix(&ip.source, family)
        && is_prefix(&ip.destination, family)
        && !asks_more(&ip.in_interface)
        && !asks_more(&ip.out_interface)
        && !ip.protocol.negated
        && ip.fragment.is_none();
    let mut bounds = Bounds {
        in_interface: interfaces.of_rule(&ip.in_interface),
        out_interface: interfaces.of_rule(&ip.out_interface),
        src: addresses(&ip.source, family),
        dst: addresses(&ip.destination, family),
        protocol: (ip.protocol.number != 0 && !ip.protocol.negated).then_some(ip.protocol.number),
        ..Bounds::ANY
    };
    for m in &rule.matches {
        exact &= m.narrow(&mut bounds);
        // Matches are asked in order, and one that counts must meet every packet that those before it hold for.
        if !m.only_looks() {
            exact = false;
            break;
        }
    }
    let Bounds {
        src, dst, sport, dport, ..
    } = &bounds;
    if src.0 > src.1 || dst.0 > dst.1 || sport.0 > sport.1 || dport.0 > dport.1 {
        // It holds for no packet at all; comparing in full will say so.
        return (Bounds::ANY, false);
    }
    (bounds, exact)
}

fn is_prefix(address: &AddressMatch, family: Family) -> bool {
    let host = address.mask.not(family).to_bits();
    !address.negated && host & host.wrapping_add(1) == 0
}

fn addresses(address: &AddressMatch, family: Family) -> (Addr, Addr) {
    // Only a prefix is a range.
    if address.is_any() || !is_prefix(address, family) {
        return Bounds::ANY.src;
    }
    let host = address.mask.not(family).to_bits();
    (address.network, address.network.or(Addr::from_bits(host)))
}
