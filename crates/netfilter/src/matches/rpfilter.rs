//! `-m rpfilter` (`net/ipv4/netfilter/ipt_rpfilter.c`, `net/ipv6/netfilter/ip6t_rpfilter.c`).

use fielato_wire::{Addr, Family};

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::host::{AddressType, RouteKey};

/// `-m rpfilter`: an answer would leave by the interface the packet came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rpfilter {
    /// `--loose`: any interface will do.
    pub loose: bool,
    /// `--validmark`: the answer's route is looked up with the packet's mark.
    pub valid_mark: bool,
    /// `--accept-local`: the source may be an address of this host.
    pub accept_local: bool,
    /// `--invert`
    pub negated: bool,
}

impl Rpfilter {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("rpfilter", &[Hook::Prerouting])?;
        cx.only_tables("rpfilter", &["raw", "mangle"])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.passes(cx) != self.negated
    }

    fn passes(&self, cx: &mut Context<'_>) -> bool {
        let packet = &cx.packet;
        let headers = &packet.headers;
        if packet.in_interface.name.as_str() == "lo" {
            return true;
        }
        let (src, dst) = (headers.src, headers.dst);
        let unspecified = match headers.family {
            // Discovery without an address yet (DHCP) has no way back; it goes no further than this link.
            Family::V4 => is_zeronet(src) && (is_v4_broadcast(dst) || dst.lo >> 8 == 0xe0_0000),
            Family::V6 => src == Addr::ZERO,
        };
        if unspecified {
            return true;
        }
        let unicast = match headers.family {
            Family::V4 => !(is_zeronet(dst) || is_v4_broadcast(dst) || dst.lo >> 28 == 0xe),
            Family::V6 => dst.hi >> 56 != 0xff && dst != Addr::ZERO,
        };
        let key = RouteKey {
            family: headers.family,
            src,
            dst: if unicast { dst } else { Addr::ZERO },
            in_interface: packet.in_interface,
            mark: if self.valid_mark { packet.mark } else { 0 },
            tos: headers.tos,
        };
        if cx.host.address_type(key.family, src, None) == AddressType::Local {
            let mut here = || cx.host.address_type(key.family, src, Some(key.in_interface)) == AddressType::Local;
            return self.accept_local && (key.family == Family::V6 || self.loose || here());
        }
        cx.host.reverse_path(&key, self.loose)
    }
}

const fn is_zeronet(address: Addr) -> bool {
    address.lo >> 24 == 0
}

const fn is_v4_broadcast(address: Addr) -> bool {
    address.lo == u32::MAX as u64
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::host::Route;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn the_way_back() {
        let any = Rpfilter::default();
        let loose = Rpfilter { loose: true, ..any };
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let src = packet.headers.src;
            let mut kit = Kit::new(packet);
            let ask = |kit: &mut Kit, m| kit.answer(&Match::Rpfilter(m));
            assert_eq!(ask(&mut kit, any), Answer::No, "back by eth1");
            assert_eq!(ask(&mut kit, Rpfilter { negated: true, ..any }), Answer::Yes);
            assert_eq!(ask(&mut kit, loose), Answer::Yes);
            kit.packet.in_interface = testkit::interface(2, "eth1");
            assert_eq!(ask(&mut kit, any), Answer::Yes, "back by where it came from");
            kit.host.route = Route::Unreachable;
            assert_eq!(ask(&mut kit, loose), Answer::No);
            kit.host.kinds = vec![(src, AddressType::Local)];
            assert_eq!(ask(&mut kit, loose), Answer::No, "our own address");
            assert_eq!(
                ask(
                    &mut kit,
                    Rpfilter {
                        accept_local: true,
                        ..any
                    }
                ),
                Answer::Yes
            );
            kit.packet.in_interface = testkit::interface(3, "lo");
            assert_eq!(ask(&mut kit, any), Answer::Yes);
        }
    }
}
