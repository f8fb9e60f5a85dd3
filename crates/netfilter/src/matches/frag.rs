//! `-m frag` (`net/ipv6/netfilter/ip6t_frag.c`).

use fielato_wire::{Family, number};

use super::Range;
use super::extension_header::{self, Missing};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m frag`: the IPv6 fragment header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frag {
    /// `--fragid`
    pub id: Range<u32>,
    /// `--fraglen`; the kernel doesn't look at it.
    pub length: Option<u32>,
    /// `! --fraglen`
    pub length_negated: bool,
    /// `--fragres`: the reserved fields are zero.
    pub reserved: bool,
    /// `--fragfirst`: the offset is zero.
    pub first: bool,
    /// `--fragmore` (true) or `--fraglast` (false).
    pub more: Option<bool>,
}

impl Frag {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("frag", Family::V6)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let at = match extension_header::find(&cx.packet.data, number::FRAGMENT) {
            Ok(at) => at,
            Err(missing) => {
                cx.hotdrop |= missing == Missing::Truncated;
                return false;
            }
        };
        let Some(header) = cx.packet.data.get(at..).and_then(|header| header.first_chunk::<8>()) else {
            cx.hotdrop = true;
            return false;
        };
        let word = u16::from_be_bytes([header[2], header[3]]);
        self.id
            .holds(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
            && !(self.reserved && (header[1] != 0 || word & 6 != 0))
            && !(self.first && word & !7 != 0)
            && self.more.is_none_or(|more| more == (word & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn place_and_identification() {
        // The kit's fragments have identification 0x1234.
        let any = Frag::default();
        let first = || testkit::v6_fragment(number::UDP, 0, true, &[0; 8]);
        let last = || testkit::v6_fragment(number::UDP, 8, false, &[0; 8]);
        let cases = [
            (any, Answer::Yes, Answer::Yes),
            (
                Frag {
                    id: Range::one(0x1234),
                    ..any
                },
                Answer::Yes,
                Answer::Yes,
            ),
            (
                Frag {
                    id: Range::one(0x1234).not(),
                    ..any
                },
                Answer::No,
                Answer::No,
            ),
            (Frag { first: true, ..any }, Answer::Yes, Answer::No),
            (Frag { more: Some(true), ..any }, Answer::Yes, Answer::No),
            (
                Frag {
                    more: Some(false),
                    ..any
                },
                Answer::No,
                Answer::Yes,
            ),
            (Frag { reserved: true, ..any }, Answer::Yes, Answer::Yes),
        ];
        for (m, in_first, in_last) in cases {
            assert_eq!(answer(Match::Frag(m), first()), in_first, "{m:?}");
            assert_eq!(answer(Match::Frag(m), last()), in_last, "{m:?}");
        }
        assert_eq!(answer(Match::Frag(any), testkit::v6(number::UDP, &[0; 8])), Answer::No);
        assert_eq!(
            answer(Match::Frag(any), testkit::v6(number::FRAGMENT, &[17, 0, 0, 0, 0, 0, 0])),
            Answer::Hotdrop
        );
    }
}
