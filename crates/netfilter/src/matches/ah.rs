//! `-m ah` (`net/ipv4/netfilter/ipt_ah.c`, `net/ipv6/netfilter/ip6t_ah.c`).

use fielato_wire::{Family, number};

use super::Range;
use super::extension_header::{self, Missing};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ah`: the authentication header. IPv4 knows the index alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ah {
    /// `--ahspi`
    pub spi: Range<u32>,
    /// `--ahlen`: the header's length in bytes; 0 for any.
    pub length: u32,
    /// `! --ahlen`
    pub length_negated: bool,
    /// `--ahres`: the reserved field is zero.
    pub reserved: bool,
}

impl Ah {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        match cx.family {
            Family::V4 => cx.only_protocols("ah", &[number::AH]),
            Family::V6 => Ok(()),
        }
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let v6 = cx.packet.headers.family == Family::V6;
        let header = if v6 {
            match extension_header::find(&cx.packet.data, number::AH) {
                Ok(at) => cx.packet.data.get(at..).unwrap_or(&[]),
                Err(missing) => {
                    cx.hotdrop |= missing == Missing::Truncated;
                    return false;
                }
            }
        } else if cx.packet.headers.is_later_fragment() {
            return false;
        } else {
            cx.packet.transport()
        };
        let available = header.len();
        let Some(header) = header.first_chunk::<12>() else {
            cx.hotdrop = true;
            return false;
        };
        let length = (u32::from(header[1]) + 2) * 4;
        if v6 && available < length as usize {
            cx.hotdrop = true;
            return false;
        }
        let spi = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if !self.spi.holds(spi) || !v6 {
            return self.spi.holds(spi);
        }
        (self.length == 0 || (self.length == length) != self.length_negated) && !(self.reserved && header[2..4] != [0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    /// UDP behind an authentication header of 24 bytes with index 7.
    const HEADER: [u8; 32] = {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[7], bytes[29]) = (number::UDP, 4, 7, 8);
        bytes
    };

    #[test]
    fn the_index_in_both_families() {
        let m = |spi| Match::Ah(Ah { spi, ..Ah::default() });
        for packet in testkit::both(number::AH, &HEADER) {
            assert_eq!(answer(m(Range::one(7)), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Range::one(8)), packet.clone()), Answer::No);
            assert_eq!(answer(m(Range::one(8).not()), packet), Answer::Yes);
        }
        for packet in testkit::both(number::AH, &HEADER[..11]) {
            assert_eq!(answer(m(Range::<u32>::ANY), packet), Answer::Hotdrop);
        }
        assert_eq!(answer(m(Range::<u32>::ANY), testkit::v6(number::UDP, &[0; 8])), Answer::No);
    }

    #[test]
    fn length_and_reserved_in_ipv6() {
        let any = Ah::default();
        let cases = [
            (Ah { length: 24, ..any }, Answer::Yes),
            (Ah { length: 28, ..any }, Answer::No),
            (
                Ah {
                    length: 28,
                    length_negated: true,
                    ..any
                },
                Answer::Yes,
            ),
            (Ah { reserved: true, ..any }, Answer::Yes),
        ];
        for (m, expected) in cases {
            assert_eq!(answer(Match::Ah(m), testkit::v6(number::AH, &HEADER)), expected, "{m:?}");
        }
        let mut reserved = HEADER;
        reserved[3] = 1;
        let m = Ah { reserved: true, ..any };
        assert_eq!(answer(Match::Ah(m), testkit::v6(number::AH, &reserved)), Answer::No);
        // Longer than the packet.
        assert_eq!(
            answer(Match::Ah(any), testkit::v6(number::AH, &HEADER[..23])),
            Answer::Hotdrop
        );
    }
}
