//! `-m dccp` (`net/netfilter/xt_dccp.c`).

use fielato_wire::number;

use super::{Range, options};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m dccp`: ports, packet types, an option (RFC 4340 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dccp {
    /// `--source-port`
    pub sport: Option<Range<u16>>,
    /// `--destination-port`
    pub dport: Option<Range<u16>>,
    /// `--dccp-types`: bit `n` is type `n`.
    pub types: Option<u16>,
    /// `! --dccp-types`
    pub types_negated: bool,
    /// `--dccp-option`
    pub option: Option<u8>,
    /// `! --dccp-option`
    pub option_negated: bool,
}

impl Dccp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("dccp", &[number::DCCP])
    }

    pub(crate) fn per_flow(&self) -> bool {
        self.types.is_none() && self.option.is_none()
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            return false;
        }
        let (sport, dport) = (headers.sport, headers.dport);
        let transport = cx.packet.transport();
        let Some(header) = transport.first_chunk::<12>() else {
            cx.hotdrop = true;
            return false;
        };
        let kind = header[8] >> 1 & 15;
        if !self.sport.is_none_or(|range| range.holds(sport))
            || !self.dport.is_none_or(|range| range.holds(dport))
            || self.types.is_some_and(|types| (types & 1 << kind != 0) == self.types_negated)
        {
            return false;
        }
        let Some(option) = self.option else {
            return true;
        };
        let begin = fixed_len(kind, header[8] & 1 != 0);
        let end = usize::from(header[4]) * 4;
        if begin == end {
            return self.option_negated;
        }
        match transport.get(begin..end) {
            Some(bytes) => options::find(bytes, option).is_some() != self.option_negated,
            // As the kernel does: it doesn't have the option, so that the negation holds before the packet is dropped.
            None => {
                cx.hotdrop = true;
                self.option_negated
            }
        }
    }
}

/// Bytes before the options: the generic header, its long sequence number, the type's own fields.
const fn fixed_len(kind: u8, extended: bool) -> usize {
    let own = match kind {
        0 => 4,                     // REQUEST: service code
        1 => 12,                    // RESPONSE: acknowledgement, service code
        2 => 0,                     // DATA
        3 | 4 | 5 | 6 | 8 | 9 => 8, // ACK, DATAACK, CLOSEREQ, CLOSE, SYNC, SYNCACK: acknowledgement
        _ => 12,                    // RESET: acknowledgement, code
    };
    12 + if extended { 4 } else { 0 } + own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    /// A REQUEST from port 1 to port 2 with long sequence numbers and one option of kind 44.
    const REQUEST: [u8; 24] = [0, 1, 0, 2, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 44, 4, 0, 0];

    #[test]
    fn ports_types_and_options() {
        let any = Dccp::default();
        let cases = [
            (any, Answer::Yes),
            (
                Dccp {
                    sport: Some(Range::one(1)),
                    ..any
                },
                Answer::Yes,
            ),
            (
                Dccp {
                    dport: Some(Range::one(1)),
                    ..any
                },
                Answer::No,
            ),
            (Dccp { types: Some(1), ..any }, Answer::Yes),
            (
                Dccp {
                    types: Some(1),
                    types_negated: true,
                    ..any
                },
                Answer::No,
            ),
            (Dccp { types: Some(2), ..any }, Answer::No),
            (Dccp { option: Some(44), ..any }, Answer::Yes),
            (Dccp { option: Some(9), ..any }, Answer::No),
            (
                Dccp {
                    option: Some(9),
                    option_negated: true,
                    ..any
                },
                Answer::Yes,
            ),
        ];
        for (m, expected) in cases {
            for packet in testkit::both(number::DCCP, &REQUEST) {
                assert_eq!(answer(Match::Dccp(m), packet), expected, "{m:?}");
            }
        }
    }

    #[test]
    fn short_headers_are_dropped() {
        for packet in testkit::both(number::DCCP, &REQUEST[..11]) {
            assert_eq!(answer(Match::Dccp(Dccp::default()), packet), Answer::Hotdrop);
        }
        let option = Match::Dccp(Dccp {
            option: Some(44),
            ..Dccp::default()
        });
        for packet in testkit::both(number::DCCP, &REQUEST[..20]) {
            assert_eq!(answer(option.clone(), packet), Answer::Hotdrop);
        }
        assert_eq!(
            answer(option, testkit::v4_fragment(number::DCCP, 8, false, &REQUEST)),
            Answer::No
        );
    }
}
