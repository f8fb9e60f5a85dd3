//! `-m rt` (`net/ipv6/netfilter/ip6t_rt.c`).

use fielato_wire::{Addr, Family, number};

use super::Range;
use super::extension_header::{self, Missing};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// Addresses that a routing header of type 0 is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtAddresses {
    /// The addresses, at most [`RtAddresses::MAX`].
    pub addresses: Vec<Addr>,
    /// `--rt-0-not-strict`: others may stand between them.
    pub loose: bool,
}

impl RtAddresses {
    /// Most addresses in one match.
    pub const MAX: usize = 16;
}

/// What `-m rt` asks of a routing header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingHeader {
    /// `--rt-type`
    pub kind: Option<u32>,
    /// `! --rt-type`
    pub kind_negated: bool,
    /// `--rt-segsleft`
    pub segments_left: Range<u32>,
    /// `--rt-len`, in bytes
    pub length: Option<u32>,
    /// `! --rt-len`
    pub length_negated: bool,
    /// `--rt-0-res`: the reserved field is zero.
    pub reserved: bool,
    /// `--rt-0-addrs`
    pub addresses: Option<RtAddresses>,
}

/// `-m rt`: the IPv6 routing header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rt(pub Box<RoutingHeader>);

impl Rt {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("rt", Family::V6)?;
        let type_zero = self.0.kind == Some(0) && !self.0.kind_negated;
        if (self.0.reserved || self.0.addresses.is_some()) && !type_zero {
            return Err(CheckError("rt: `--rt-type 0' required before `--rt-0-*'".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let at = match extension_header::find(&cx.packet.data, number::ROUTING) {
            Ok(at) => at,
            Err(missing) => {
                cx.hotdrop |= missing == Missing::Truncated;
                return false;
            }
        };
        let header = cx.packet.data.get(at..).unwrap_or(&[]);
        let Some(&[_, words, kind, segments_left]) = header.first_chunk::<4>() else {
            cx.hotdrop = true;
            return false;
        };
        let length = (usize::from(words) + 1) * 8;
        match header.get(..length) {
            Some(header) => self.0.holds(header, kind, segments_left),
            None => {
                cx.hotdrop = true;
                false
            }
        }
    }
}

impl RoutingHeader {
    /// `header` is at least eight bytes long.
    fn holds(&self, header: &[u8], kind: u8, segments_left: u8) -> bool {
        self.segments_left.holds(segments_left.into())
            && self
                .length
                .is_none_or(|length| (length as usize == header.len()) != self.length_negated)
            && self
                .kind
                .is_none_or(|wanted| (wanted == u32::from(kind)) != self.kind_negated)
            && !(self.reserved && header[4..8] != [0; 4])
            && self.addresses.as_ref().is_none_or(|wanted| wanted.holds(&header[8..]))
    }
}

impl RtAddresses {
    fn holds(&self, bytes: &[u8]) -> bool {
        let mut there = bytes.chunks_exact(16).map(Addr::read);
        if self.loose {
            // Each in turn is looked for behind the one before.
            return self.addresses.iter().all(|wanted| there.any(|address| address == *wanted));
        }
        there.eq(self.addresses.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    fn header(addresses: &[u128]) -> Vec<u8> {
        let mut bytes = vec![number::UDP, addresses.len() as u8 * 2, 0, 2, 0, 0, 0, 0];
        addresses
            .iter()
            .for_each(|address| bytes.extend_from_slice(&address.to_be_bytes()));
        bytes.extend_from_slice(&testkit::udp(1, 2, &[]));
        bytes
    }

    #[test]
    fn fields() {
        let any = RoutingHeader::default();
        let cases = [
            (any.clone(), Answer::Yes),
            (
                RoutingHeader {
                    kind: Some(0),
                    ..any.clone()
                },
                Answer::Yes,
            ),
            (
                RoutingHeader {
                    kind: Some(0),
                    kind_negated: true,
                    ..any.clone()
                },
                Answer::No,
            ),
            (
                RoutingHeader {
                    segments_left: Range::new(1, 2),
                    ..any.clone()
                },
                Answer::Yes,
            ),
            (
                RoutingHeader {
                    segments_left: Range::new(1, 2).not(),
                    ..any.clone()
                },
                Answer::No,
            ),
            (
                RoutingHeader {
                    length: Some(40),
                    ..any.clone()
                },
                Answer::Yes,
            ),
            (
                RoutingHeader {
                    length: Some(8),
                    ..any.clone()
                },
                Answer::No,
            ),
            (
                RoutingHeader {
                    reserved: true,
                    ..any.clone()
                },
                Answer::Yes,
            ),
        ];
        for (m, expected) in cases {
            let packet = testkit::v6(number::ROUTING, &header(&[5, 6]));
            assert_eq!(answer(Match::Rt(Rt(Box::new(m.clone()))), packet), expected, "{m:?}");
        }
        let any = Match::Rt(Rt::default());
        assert_eq!(answer(any.clone(), testkit::v6(number::UDP, &[0; 8])), Answer::No);
        assert_eq!(answer(any.clone(), testkit::v6(number::ROUTING, &[17])), Answer::Hotdrop);
        assert_eq!(
            answer(any, testkit::v6(number::ROUTING, &[17, 9, 0, 0, 0, 0, 0, 0])),
            Answer::Hotdrop
        );
    }

    #[test]
    fn addresses_strict_and_loose() {
        let ask = |wanted: &[u128], loose| {
            let addresses = wanted.iter().map(|bits| Addr::from_bits(*bits)).collect();
            let m = RoutingHeader {
                addresses: Some(RtAddresses { addresses, loose }),
                ..RoutingHeader::default()
            };
            answer(Match::Rt(Rt(Box::new(m))), testkit::v6(number::ROUTING, &header(&[5, 6, 7])))
        };
        assert_eq!(ask(&[5, 6, 7], false), Answer::Yes);
        assert_eq!(ask(&[5, 6], false), Answer::No);
        assert_eq!(ask(&[5, 7], true), Answer::Yes);
        assert_eq!(ask(&[7, 5], true), Answer::No);
        assert_eq!(ask(&[5, 6, 7, 8], true), Answer::No);
    }
}
