//! `-m icmp6` (`net/netfilter/xt_tcpudp.c`).

use fielato_wire::{Family, number};

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m icmp6`: type and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp6 {
    /// Type.
    pub icmp_type: u8,
    /// Codes; [`Range::negated`] is not used.
    pub codes: Range<u8>,
    /// `!`
    pub negated: bool,
}

impl Icmp6 {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("icmp6", Family::V6)?;
        cx.only_protocols("icmp6", &[number::ICMPV6])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            return false;
        }
        if !headers.l4_whole {
            cx.hotdrop = true;
            return false;
        }
        (headers.icmp_type == self.icmp_type && self.codes.holds(headers.icmp_code)) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn type_and_code() {
        let m = |icmp_type, codes, negated| {
            Match::Icmp6(Icmp6 {
                icmp_type,
                codes,
                negated,
            })
        };
        let packet = || testkit::v6(number::ICMPV6, &[1, 3, 0, 0, 0, 0, 0, 0]);
        let cases = [
            (m(1, Range::<u8>::ANY, false), Answer::Yes),
            (m(1, Range::one(3), false), Answer::Yes),
            (m(1, Range::one(0), false), Answer::No),
            (m(1, Range::one(0), true), Answer::Yes),
            (m(128, Range::<u8>::ANY, false), Answer::No),
        ];
        for (m, expected) in cases {
            assert_eq!(answer(m.clone(), packet()), expected, "{m:?}");
        }
        let echo = m(128, Range::<u8>::ANY, false);
        assert_eq!(
            answer(echo.clone(), testkit::v6(number::ICMPV6, &[128, 0, 0])),
            Answer::Hotdrop
        );
        assert_eq!(
            answer(echo, testkit::v6_fragment(number::ICMPV6, 8, false, &[128; 8])),
            Answer::No
        );
    }
}
