//! `-m srh` (`net/ipv6/netfilter/ip6t_srh.c`, revision 1).

use fielato_wire::{Family, number};

use super::extension_header;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::rule::AddressMatch;

/// A comparison with `==`, `>` and `<`, each of which can be negated on its own. The rule has one value for the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreeWay {
    /// `-eq`
    pub equal: Option<Signed>,
    /// `-gt`
    pub greater: Option<Signed>,
    /// `-lt`
    pub less: Option<Signed>,
    /// What it is compared with: the value given last.
    pub value: u8,
}

/// Whether an asked-for comparison is negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `!`
    pub negated: bool,
}

impl ThreeWay {
    fn holds(&self, packet: u8) -> bool {
        let asked = |wanted: Option<Signed>, holds: bool| wanted.is_none_or(|Signed { negated }| holds != negated);
        asked(self.equal, packet == self.value)
            && asked(self.greater, packet > self.value)
            && asked(self.less, packet < self.value)
    }
}

/// What `-m srh` asks of a segment routing header (RFC 8754 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRouting {
    /// `--srh-next-hdr`
    pub next_header: Option<u8>,
    /// `! --srh-next-hdr`
    pub next_header_negated: bool,
    /// `--srh-hdr-len-…`: length in units of eight bytes, without the first.
    pub length: ThreeWay,
    /// `--srh-segs-left-…`
    pub segments_left: ThreeWay,
    /// `--srh-last-entry-…`
    pub last_entry: ThreeWay,
    /// `--srh-tag`
    pub tag: Option<u16>,
    /// `! --srh-tag`
    pub tag_negated: bool,
    /// `--srh-psid`: the segment before.
    pub previous: Option<AddressMatch>,
    /// `--srh-nsid`: the next segment.
    pub next: Option<AddressMatch>,
    /// `--srh-lsid`: the last segment.
    pub last: Option<AddressMatch>,
}

/// `-m srh`: the IPv6 segment routing header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Srh(pub Box<SegmentRouting>);

impl Srh {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("srh", Family::V6)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        extension_header::find(&cx.packet.data, number::ROUTING)
            .ok()
            .and_then(|at| cx.packet.data.get(at..))
            .is_some_and(|header| self.0.holds(header))
    }
}

impl SegmentRouting {
    /// Routing type of a segment routing header.
    const TYPE: u8 = 4;

    /// `bytes` reach from the header to the end of the packet.
    fn holds(&self, bytes: &[u8]) -> bool {
        let Some(&[next_header, length, kind, segments_left, last_entry, _, tag_low, tag_high]) = bytes.first_chunk::<8>() else {
            return false;
        };
        if bytes.len() < (usize::from(length) + 1) * 8 || kind != SegmentRouting::TYPE || segments_left > last_entry {
            return false;
        }
        // The kernel compares the tag's bytes with the rule's number as they lie in memory: on little-endian machines, all
        // but few, the tag is read with its low byte first.
        let tag = u16::from_le_bytes([tag_low, tag_high]);
        let segment = |number: u8| {
            let at = 8 + usize::from(number) * 16;
            bytes.get(at..at + 16).map(fielato_wire::Addr::read)
        };
        let asked = |wanted: &Option<AddressMatch>, number: Option<u8>| {
            wanted.is_none_or(|wanted| number.and_then(segment).is_some_and(|segment| wanted.matches(segment)))
        };
        let previous = if segments_left == last_entry {
            None
        } else {
            segments_left.checked_add(1)
        };
        self.next_header
            .is_none_or(|wanted| (wanted == next_header) != self.next_header_negated)
            && self.length.holds(length)
            && self.segments_left.holds(segments_left)
            && self.last_entry.holds(last_entry)
            && self.tag.is_none_or(|wanted| (wanted == tag) != self.tag_negated)
            && asked(&self.previous, previous)
            && asked(&self.next, segments_left.checked_sub(1))
            && asked(&self.last, Some(0))
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::Addr;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    /// Three segments, the second is the current one.
    fn header() -> Vec<u8> {
        let mut bytes = vec![number::UDP, 6, 4, 1, 2, 0, 7, 0];
        (10u128..13).for_each(|segment| bytes.extend_from_slice(&segment.to_be_bytes()));
        bytes.extend_from_slice(&testkit::udp(1, 2, &[]));
        bytes
    }

    #[test]
    fn fields_and_segments() {
        let any = SegmentRouting::default();
        let plain = Some(Signed { negated: false });
        let is = |bits| {
            let mask = Addr::mask(Family::V6, 128);
            let network = Addr::from_bits(bits);
            Some(AddressMatch {
                network,
                mask,
                negated: false,
            })
        };
        let cases = [
            (any, Answer::Yes),
            (
                SegmentRouting {
                    next_header: Some(number::UDP),
                    ..any
                },
                Answer::Yes,
            ),
            (
                SegmentRouting {
                    next_header: Some(number::TCP),
                    ..any
                },
                Answer::No,
            ),
            (
                SegmentRouting {
                    length: ThreeWay {
                        equal: plain,
                        value: 6,
                        ..ThreeWay::default()
                    },
                    ..any
                },
                Answer::Yes,
            ),
            (
                SegmentRouting {
                    segments_left: ThreeWay {
                        less: plain,
                        value: 1,
                        ..ThreeWay::default()
                    },
                    ..any
                },
                Answer::No,
            ),
            (
                SegmentRouting {
                    last_entry: ThreeWay {
                        greater: plain,
                        value: 1,
                        ..ThreeWay::default()
                    },
                    ..any
                },
                Answer::Yes,
            ),
            (SegmentRouting { tag: Some(7), ..any }, Answer::Yes),
            (
                SegmentRouting {
                    tag: Some(7),
                    tag_negated: true,
                    ..any
                },
                Answer::No,
            ),
            (SegmentRouting { previous: is(12), ..any }, Answer::Yes),
            (SegmentRouting { next: is(10), ..any }, Answer::Yes),
            (SegmentRouting { next: is(11), ..any }, Answer::No),
            (SegmentRouting { last: is(10), ..any }, Answer::Yes),
        ];
        for (m, expected) in cases {
            let packet = testkit::v6(number::ROUTING, &header());
            assert_eq!(answer(Match::Srh(Srh(Box::new(m))), packet), expected, "{m:?}");
        }
        let any = Match::Srh(Srh::default());
        assert_eq!(answer(any.clone(), testkit::v6(number::UDP, &[0; 8])), Answer::No);
        assert_eq!(answer(any.clone(), testkit::v6(number::ROUTING, &[17])), Answer::No);
        let mut too_many = header();
        too_many[3] = 3;
        assert_eq!(answer(any, testkit::v6(number::ROUTING, &too_many)), Answer::No);
    }
}
