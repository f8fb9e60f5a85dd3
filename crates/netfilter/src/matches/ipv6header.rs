//! `-m ipv6header` (`net/ipv6/netfilter/ip6t_ipv6header.c`).

use fielato_wire::{Family, number};

use super::extension_header;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ipv6header`: which headers follow the IPv6 header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6Header {
    /// The headers, bits of this type.
    pub headers: u8,
    /// `!`
    pub negated: bool,
    /// `--soft`: others may be there too.
    pub soft: bool,
}

impl Ipv6Header {
    /// Anything that is not an extension header.
    pub const PROTOCOL: u8 = 1 << 0;
    /// No next header.
    pub const NONE: u8 = 1 << 1;
    /// Encapsulating security payload.
    pub const ESP: u8 = 1 << 2;
    /// Authentication header.
    pub const AH: u8 = 1 << 3;
    /// Fragment header.
    pub const FRAGMENT: u8 = 1 << 4;
    /// Routing header.
    pub const ROUTING: u8 = 1 << 5;
    /// Destination options.
    pub const DESTINATION: u8 = 1 << 6;
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 1 << 7;

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("ipv6header", Family::V6)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let Some(there) = headers_of(&cx.packet.data) else {
            return false;
        };
        if self.soft {
            // Negated, none of them may be there; else all of them must be.
            let wanted = if self.negated { 0 } else { self.headers };
            return there & self.headers == wanted;
        }
        (there == self.headers) != self.negated
    }
}

/// The headers of a packet; `None` when the chain is cut short. This walk is the match's own: it looks into ESP no more than
/// the kernel's, and goes on behind later fragments.
fn headers_of(packet: &[u8]) -> Option<u8> {
    let mut next = *packet.get(6)?;
    let mut at = 40;
    let mut there = 0;
    while extension_header::is_extension(next) || next == number::ESP {
        if next == number::NO_NEXT {
            return Some(there | Ipv6Header::NONE);
        }
        let header = packet.get(at..).and_then(|rest| rest.get(..2))?;
        let (bit, length) = match next {
            number::ESP => return Some(there | Ipv6Header::ESP),
            number::FRAGMENT => (Ipv6Header::FRAGMENT, 8),
            number::AH => (Ipv6Header::AH, (usize::from(header[1]) + 2) * 4),
            number::ROUTING => (Ipv6Header::ROUTING, (usize::from(header[1]) + 1) * 8),
            number::DESTINATION => (Ipv6Header::DESTINATION, (usize::from(header[1]) + 1) * 8),
            _ => (Ipv6Header::HOP_BY_HOP, (usize::from(header[1]) + 1) * 8),
        };
        there |= bit;
        next = header[0];
        at += length;
        if at > packet.len() {
            break;
        }
    }
    let ended = next == number::NO_NEXT || next == number::ESP;
    Some(if ended { there } else { there | Ipv6Header::PROTOCOL })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn exact_and_soft() {
        let m = |headers, negated, soft| Ipv6Header { headers, negated, soft };
        let (hop, protocol) = (Ipv6Header::HOP_BY_HOP, Ipv6Header::PROTOCOL);
        let cases = [
            (m(hop | protocol, false, false), Answer::Yes),
            (m(hop, false, false), Answer::No),
            (m(hop, true, false), Answer::Yes),
            (m(hop, false, true), Answer::Yes),
            (m(hop | Ipv6Header::ROUTING, false, true), Answer::No),
            (m(Ipv6Header::ROUTING, true, true), Answer::Yes),
            (m(hop, true, true), Answer::No),
        ];
        let header = [number::UDP, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0];
        for (m, expected) in cases {
            let packet = testkit::v6(number::HOP_BY_HOP, &header);
            assert_eq!(answer(Match::Ipv6Header(m), packet), expected, "{m:?}");
        }
        let cut = testkit::v6(number::HOP_BY_HOP, &[17]);
        assert_eq!(answer(Match::Ipv6Header(m(protocol, true, false)), cut), Answer::No);
        let none = testkit::v6(number::NO_NEXT, &[]);
        assert_eq!(
            answer(Match::Ipv6Header(m(Ipv6Header::NONE, false, false)), none),
            Answer::Yes
        );
        let esp = testkit::v6(number::ESP, &[0; 8]);
        assert_eq!(answer(Match::Ipv6Header(m(Ipv6Header::ESP, false, false)), esp), Answer::Yes);
    }
}
