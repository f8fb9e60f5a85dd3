//! `-m multiport` (`net/netfilter/xt_multiport.c`, revision 1).

use fielato_wire::number;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// Which port is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSide {
    /// `--source-ports`
    Source,
    /// `--destination-ports`
    Destination,
    /// `--ports`
    Either,
}

/// `-m multiport`: up to fifteen ports; a range counts as two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiport {
    /// Which port.
    pub side: PortSide,
    /// Ports and ranges; [`Range::negated`] is not used.
    pub ports: Box<[Range<u16>]>,
    /// `!`
    pub negated: bool,
}

impl Multiport {
    /// Most ports in one match.
    pub const MAX: usize = 15;

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let slots: usize = self
            .ports
            .iter()
            .map(|range| if range.min == range.max { 1 } else { 2 })
            .sum();
        if slots > Multiport::MAX {
            return Err(CheckError(format!("multiport takes at most {} ports", Multiport::MAX)));
        }
        let protocols = [number::TCP, number::UDP, number::UDPLITE, number::SCTP, number::DCCP];
        cx.only_protocols("multiport", &protocols)
    }

    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            return false;
        }
        // Four bytes are enough here: the kernel reads the ports alone.
        if cx.packet.transport().len() < 4 {
            cx.hotdrop = true;
            return false;
        }
        let any = |port: u16| self.ports.iter().any(|range| range.holds(port));
        let found = match self.side {
            PortSide::Source => any(headers.sport),
            PortSide::Destination => any(headers.dport),
            PortSide::Either => any(headers.sport) || any(headers.dport),
        };
        found != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn sides_ranges_and_negation() {
        let m = |side, ports: &[Range<u16>], negated| {
            let ports = ports.into();
            Match::Multiport(Multiport { side, ports, negated })
        };
        let ports = [Range::one(22), Range::new(8000, 8080)];
        let cases = [
            (m(PortSide::Source, &ports, false), Answer::No),
            (m(PortSide::Destination, &ports, false), Answer::Yes),
            (m(PortSide::Either, &ports, false), Answer::Yes),
            (m(PortSide::Source, &ports, true), Answer::Yes),
            (m(PortSide::Destination, &ports, true), Answer::No),
            (m(PortSide::Destination, &ports[..1], false), Answer::No),
        ];
        for (m, expected) in cases {
            for packet in testkit::both(number::TCP, &testkit::tcp(40000, 8080, 0, &[])) {
                assert_eq!(answer(m.clone(), packet), expected, "{m:?}");
            }
        }
    }

    #[test]
    fn four_bytes_are_enough() {
        let m = Match::Multiport(Multiport {
            side: PortSide::Destination,
            ports: [Range::one(2)].into(),
            negated: false,
        });
        for packet in testkit::both(number::UDP, &[0, 1, 0, 2]) {
            assert_eq!(answer(m.clone(), packet), Answer::Yes);
        }
        for packet in testkit::both(number::UDP, &[0, 1, 0]) {
            assert_eq!(answer(m.clone(), packet), Answer::Hotdrop);
        }
        assert_eq!(
            answer(m.clone(), testkit::v4_fragment(number::UDP, 8, false, &[0, 1, 0, 2])),
            Answer::No
        );
        assert_eq!(
            answer(m, testkit::v6_fragment(number::UDP, 8, false, &[0, 1, 0, 2])),
            Answer::No
        );
    }
}
