//! `-m udp` (`net/netfilter/xt_tcpudp.c`).

use fielato_wire::number;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m udp`: ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// `--source-port`
    pub sport: Range<u16>,
    /// `--destination-port`
    pub dport: Range<u16>,
}

impl Udp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("udp", &[number::UDP])
    }

    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            return false;
        }
        if !headers.l4_whole {
            cx.hotdrop = true;
            return false;
        }
        self.sport.holds(headers.sport) && self.dport.holds(headers.dport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn ports_in_both_families() {
        let any = Udp::default();
        let cases = [
            (any, Answer::Yes),
            (
                Udp {
                    sport: Range::one(5353),
                    ..any
                },
                Answer::Yes,
            ),
            (
                Udp {
                    dport: Range::one(53),
                    ..any
                },
                Answer::Yes,
            ),
            (
                Udp {
                    dport: Range::one(53).not(),
                    ..any
                },
                Answer::No,
            ),
            (
                Udp {
                    dport: Range::new(54, 65535),
                    ..any
                },
                Answer::No,
            ),
        ];
        for (m, expected) in cases {
            for packet in testkit::both(number::UDP, &testkit::udp(5353, 53, b"?")) {
                assert_eq!(answer(Match::Udp(m), packet), expected, "{m:?}");
            }
        }
    }

    #[test]
    fn short_headers_are_dropped_and_later_fragments_pass_by() {
        let m = Match::Udp(Udp::default());
        for packet in testkit::both(number::UDP, &[0; 7]) {
            assert_eq!(answer(m.clone(), packet), Answer::Hotdrop);
        }
        assert_eq!(
            answer(m.clone(), testkit::v4_fragment(number::UDP, 8, false, &[0; 8])),
            Answer::No
        );
        assert_eq!(
            answer(m.clone(), testkit::v6_fragment(number::UDP, 8, false, &[0; 8])),
            Answer::No
        );
        let first = testkit::udp(1, 2, &[0; 8]);
        assert_eq!(
            answer(m.clone(), testkit::v4_fragment(number::UDP, 0, true, &first)),
            Answer::Yes
        );
        assert_eq!(answer(m, testkit::v6_fragment(number::UDP, 0, true, &first)), Answer::Yes);
    }
}
