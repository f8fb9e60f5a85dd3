//! `-m icmp` (`net/netfilter/xt_tcpudp.c`).

use fielato_wire::{Family, number};

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m icmp`: type and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type; 255 stands for any.
    pub icmp_type: u8,
    /// Codes; [`Range::negated`] is not used.
    pub codes: Range<u8>,
    /// `!`
    pub negated: bool,
}

impl Icmp {
    /// The type that stands for any.
    pub const ANY: u8 = 255;

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("icmp", Family::V4)?;
        cx.only_protocols("icmp", &[number::ICMP])
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
        let named = headers.icmp_type == self.icmp_type && self.codes.holds(headers.icmp_code);
        (self.icmp_type == Icmp::ANY || named) != self.negated
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
            Match::Icmp(Icmp {
                icmp_type,
                codes,
                negated,
            })
        };
        let packet = || testkit::v4(number::ICMP, &[3, 4, 0, 0, 0, 0, 0, 0]);
        let cases = [
            (m(3, Range::<u8>::ANY, false), Answer::Yes),
            (m(3, Range::one(4), false), Answer::Yes),
            (m(3, Range::one(3), false), Answer::No),
            (m(3, Range::one(3), true), Answer::Yes),
            (m(8, Range::<u8>::ANY, false), Answer::No),
            (m(Icmp::ANY, Range::<u8>::ANY, false), Answer::Yes),
            (m(Icmp::ANY, Range::<u8>::ANY, true), Answer::No),
        ];
        for (m, expected) in cases {
            assert_eq!(answer(m.clone(), packet()), expected, "{m:?}");
        }
        let any = m(Icmp::ANY, Range::<u8>::ANY, false);
        assert_eq!(answer(any.clone(), testkit::v4(number::ICMP, &[8, 0, 0])), Answer::Hotdrop);
        assert_eq!(answer(any, testkit::v4_fragment(number::ICMP, 8, false, &[0; 8])), Answer::No);
    }
}
