//! `-m addrtype` (`net/netfilter/xt_addrtype.c`, revision 1).

use fielato_wire::{Addr, Family};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::host::AddressType;
use crate::{Hook, HookMask, Interface};

/// A set of kinds of addresses: bit `n` is [`AddressType`] number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressTypes {
    /// The bits; none when nothing is asked for.
    pub mask: u16,
    /// `!`
    pub negated: bool,
}

/// From which interface the kind of an address is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitInterface {
    /// `--limit-iface-in`
    In,
    /// `--limit-iface-out`
    Out,
}

/// `-m addrtype`: what the source or the destination is to this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addrtype {
    /// `--src-type`
    pub source: AddressTypes,
    /// `--dst-type`
    pub destination: AddressTypes,
    /// `--limit-iface-in`, `--limit-iface-out`
    pub limit: Option<LimitInterface>,
}

const fn bit(kind: AddressType) -> u16 {
    1 << kind as u8
}

impl Addrtype {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let reached = |hooks: &[Hook]| cx.hooks.0 & HookMask::of(hooks).0 != 0;
        match self.limit {
            Some(LimitInterface::Out) if reached(&[Hook::Prerouting, Hook::Input]) => {
                return Err(CheckError(
                    "addrtype: no --limit-iface-out in PREROUTING and INPUT".to_owned(),
                ));
            }
            Some(LimitInterface::In) if reached(&[Hook::Postrouting, Hook::Output]) => {
                return Err(CheckError(
                    "addrtype: no --limit-iface-in in POSTROUTING and OUTPUT".to_owned(),
                ));
            }
            _ => {}
        }
        let asked = self.source.mask | self.destination.mask;
        let unknown = asked & (bit(AddressType::Blackhole) | bit(AddressType::Broadcast)) != 0;
        if cx.family == Family::V6 && (unknown || asked >= bit(AddressType::Prohibit)) {
            return Err(CheckError(
                "addrtype: BROADCAST, BLACKHOLE, PROHIBIT, THROW, NAT and XRESOLVE are IPv4's alone".to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let interface = match self.limit {
            None => None,
            Some(LimitInterface::In) => Some(cx.packet.in_interface),
            Some(LimitInterface::Out) => Some(cx.packet.out_interface),
        };
        let (src, dst) = (cx.packet.headers.src, cx.packet.headers.dst);
        self.source.hold(cx, src, interface) && self.destination.hold(cx, dst, interface)
    }
}

impl AddressTypes {
    fn hold(&self, cx: &mut Context<'_>, address: Addr, interface: Option<Interface>) -> bool {
        if self.mask == 0 {
            return true;
        }
        let holds = match cx.packet.headers.family {
            Family::V4 => self.mask & bit(cx.host.address_type(Family::V4, address, interface)) != 0,
            Family::V6 => self.holds_v6(cx, address, interface),
        };
        holds != self.negated
    }

    /// IPv6 asks differently (`match_type6`): kinds that the address itself tells are all to hold, and one of those that
    /// routes tell.
    fn holds_v6(&self, cx: &mut Context<'_>, address: Addr, interface: Option<Interface>) -> bool {
        let asks = |kind| self.mask & bit(kind) != 0;
        let bits = address.to_bits();
        let multicast = bits >> 120 == 0xff;
        let mapped = bits >> 32 == 0xffff;
        if asks(AddressType::Multicast) && !multicast
            || asks(AddressType::Unicast) && (multicast || mapped || bits == 0)
            || asks(AddressType::Unspec) && bits != 0
        {
            return false;
        }
        let routed = self.mask & (bit(AddressType::Local) | bit(AddressType::Anycast) | bit(AddressType::Unreachable));
        routed == 0 || routed & bit(cx.host.address_type(Family::V6, address, interface)) != 0
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::{IpMatch, Match};
    use crate::testkit::{self, Answer, Kit};

    fn types(kinds: &[AddressType]) -> AddressTypes {
        let mask = kinds.iter().fold(0, |mask, &kind| mask | bit(kind));
        AddressTypes { mask, negated: false }
    }

    #[test]
    fn kinds_of_both_ends() {
        use AddressType::{Local, Multicast, Unicast};
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let dst = packet.headers.dst;
            let mut kit = Kit::new(packet);
            kit.host.kinds = vec![(dst, Local)];
            let mut ask = |source, destination| {
                let limit = None;
                kit.answer(&Match::Addrtype(Addrtype {
                    source,
                    destination,
                    limit,
                }))
            };
            let none = types(&[]);
            assert_eq!(ask(none, types(&[Local])), Answer::Yes);
            assert_eq!(ask(types(&[Local]), none), Answer::No);
            assert_eq!(ask(types(&[Unicast]), types(&[Local])), Answer::Yes);
            assert_eq!(ask(types(&[Multicast]), types(&[Local])), Answer::No);
            let not_local = AddressTypes {
                negated: true,
                ..types(&[Local])
            };
            assert_eq!(ask(not_local, none), Answer::Yes);
            assert_eq!(ask(none, not_local), Answer::No);
        }
    }

    #[test]
    fn a_local_address_is_unicast_in_ipv6_alone() {
        use AddressType::{Local, Unicast};
        for (packet, expected) in testkit::both(number::UDP, &[0; 8]).into_iter().zip([Answer::No, Answer::Yes]) {
            let dst = packet.headers.dst;
            let mut kit = Kit::new(packet);
            kit.host.kinds = vec![(dst, Local)];
            let m = Addrtype {
                destination: types(&[Unicast]),
                ..Addrtype::default()
            };
            assert_eq!(kit.answer(&Match::Addrtype(m)), expected);
        }
    }

    #[test]
    fn hooks_and_kinds_are_checked() {
        let ip = IpMatch::default();
        let cx = |family, hook| CheckContext {
            family,
            table: "mangle",
            hooks: HookMask::of(&[hook]),
            ip: &ip,
            matches: &[],
        };
        let limited = |limit| Addrtype {
            limit: Some(limit),
            ..Addrtype::default()
        };
        assert!(limited(LimitInterface::In).check(&cx(Family::V4, Hook::Input)).is_ok());
        assert!(limited(LimitInterface::In).check(&cx(Family::V4, Hook::Output)).is_err());
        assert!(limited(LimitInterface::Out).check(&cx(Family::V4, Hook::Prerouting)).is_err());
        let broadcast = Addrtype {
            source: types(&[AddressType::Broadcast]),
            ..Addrtype::default()
        };
        assert!(broadcast.check(&cx(Family::V4, Hook::Input)).is_ok());
        assert!(broadcast.check(&cx(Family::V6, Hook::Input)).is_err());
    }
}
