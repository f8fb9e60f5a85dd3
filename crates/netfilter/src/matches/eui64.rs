//! `-m eui64` (`net/ipv6/netfilter/ip6t_eui64.c`).

use fielato_wire::Family;

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m eui64`: the lower half of the source address was made of the source MAC address (RFC 4291, appendix A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eui64 {}

impl Eui64 {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("eui64", Family::V6)?;
        cx.only_hooks("eui64", &[Hook::Prerouting, Hook::Input, Hook::Forward])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let Some([a, b, c, d, e, f]) = cx.packet.source_mac else {
            cx.hotdrop |= cx.packet.headers.is_later_fragment();
            return false;
        };
        // The bit is set, not flipped, as the kernel does.
        let identifier = u64::from_be_bytes([a | 2, b, c, 0xff, 0xfe, d, e, f]);
        cx.packet.headers.src.lo == identifier
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn compares_the_interface_identifier() {
        let mut packet = testkit::v6(number::UDP, &[0; 8]);
        let m = Match::Eui64(Eui64 {});
        assert_eq!(answer(m.clone(), packet.clone()), Answer::No);
        packet.source_mac = Some([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(answer(m.clone(), packet.clone()), Answer::No);
        packet.headers.src.lo = 0x0211_22ff_fe33_4455;
        assert_eq!(answer(m, packet), Answer::Yes);
    }
}
