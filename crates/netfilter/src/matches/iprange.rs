//! `-m iprange` (`net/netfilter/xt_iprange.c`).

use fielato_wire::Addr;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// Both ends of a packet, each within a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpRanges {
    /// `--src-range`
    pub source: Option<Range<Addr>>,
    /// `--dst-range`
    pub destination: Option<Range<Addr>>,
}

/// `-m iprange`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iprange {
    /// The ranges, out of line for their size.
    pub ranges: Box<IpRanges>,
}

impl Iprange {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        let IpRanges { source, destination } = *self.ranges;
        source.is_none_or(|range| range.holds(headers.src)) && destination.is_none_or(|range| range.holds(headers.dst))
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn both_ends_have_to_hold() {
        let m = |source, destination| {
            let ranges = Box::new(IpRanges { source, destination });
            Match::Iprange(Iprange { ranges })
        };
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let (src, dst) = (packet.headers.src, packet.headers.dst);
            let (hit, miss) = (Range::new(src, src), Range::new(Addr::from_bits(src.to_bits() + 1), dst));
            let all = Range::new(src, dst);
            let cases = [
                (m(Some(hit), None), Answer::Yes),
                (m(Some(miss), None), Answer::No),
                (m(Some(miss.not()), None), Answer::Yes),
                (m(None, Some(all)), Answer::Yes),
                (m(Some(hit), Some(all.not())), Answer::No),
                (m(Some(Range::new(dst, src)), None), Answer::No),
            ];
            for (m, expected) in cases {
                assert_eq!(answer(m.clone(), packet.clone()), expected, "{m:?}");
            }
        }
    }
}
