//! From packets to tuples (`nf_ct_get_tuple`, `nf_ct_get_tuplepr`).

use std::fmt;

use fielato_wire::{Addr, Extensions, Family, Headers, TcpFlags, number};

use super::{Tracker, Tuple};

/// Protocols that a program registered.
#[derive(Default)]
pub(super) struct Trackers(Vec<Box<dyn Tracker>>);

impl Trackers {
    /// Adds a protocol, in place of an earlier one of the same number.
    pub(super) fn register(&mut self, tracker: Box<dyn Tracker>) {
        self.0.retain(|other| other.protocol() != tracker.protocol());
        self.0.push(tracker);
    }

    /// Whether no protocol was registered.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The registered protocol of a number.
    #[inline]
    pub(super) fn get(&self, protocol: u8) -> Option<&dyn Tracker> {
        self.0
            .iter()
            .find(|tracker| tracker.protocol() == protocol)
            .map(|tracker| &**tracker)
    }

    /// The tuple of answers.
    #[inline]
    pub(super) fn invert(&self, tuple: &Tuple) -> Option<Tuple> {
        let Some(tracker) = self.get(tuple.protocol) else {
            return tuple.invert();
        };
        let (sport, dport) = tracker.invert(tuple)?;
        Some(Tuple {
            src: tuple.dst,
            dst: tuple.src,
            sport,
            dport,
            ..*tuple
        })
    }
}

impl fmt::Debug for Trackers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|tracker| tracker.name())).finish()
    }
}

/// Whether a packet has a transport header that can be read (`get_l4proto`): it is no later fragment, and its chain of IPv6
/// extension headers is whole and leads to something.
pub(super) const fn has_transport(headers: &Headers) -> bool {
    let unread = matches!(headers.family, Family::V6)
        && matches!(
            headers.protocol,
            number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::AH | number::DESTINATION | number::NO_NEXT
        );
    !headers.is_later_fragment() && !unread
}

/// The tuple of a packet; `None` when its transport header is too short.
pub(super) fn tuple(headers: &Headers, transport: &[u8], trackers: &Trackers) -> Option<Tuple> {
    let word = |at: usize| Some(u16::from_be_bytes([*transport.get(at)?, *transport.get(at + 1)?]));
    let (sport, dport) = if let Some(tracker) = trackers.get(headers.protocol) {
        tracker.tuple(headers, transport)?
    } else {
        match headers.protocol {
            // The first four bytes are enough for these.
            number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP => (word(0)?, word(2)?),
            number::ICMP | number::ICMPV6 => (transport.get(..8).and(word(4))?, word(0)?),
            number::GRE => gre_keys(transport)?,
            _ => (0, 0),
        }
    };
    Some(Tuple {
        src: headers.src,
        dst: headers.dst,
        sport,
        dport,
        protocol: headers.protocol,
        family: headers.family,
    })
}

/// GRE has numbers only as PPTP uses it, in version 1 (RFC 2637 §4.1): the call id of the receiver. The sender's would have to be
/// learnt from PPTP's control connection. Other versions are told apart by their addresses alone.
fn gre_keys(transport: &[u8]) -> Option<(u16, u16)> {
    const PPP: u16 = 0x880b;
    let Some(header) = transport.first_chunk::<8>() else {
        return Some((0, 0));
    };
    if header[1] & 0x07 != 1 {
        return Some((0, 0));
    }
    if u16::from_be_bytes([header[2], header[3]]) != PPP {
        return None;
    }
    Some((0, u16::from_be_bytes([header[6], header[7]])))
}

/// The tuple of the packet that an ICMP error quotes. Of a quotation often nothing but 8 bytes of transport is there, and its
/// length and checksum are those of the whole packet, so that it is not read as packets are.
pub(super) fn quoted(bytes: &[u8], family: Family, trackers: &Trackers) -> Option<Tuple> {
    let headers = match family {
        Family::V4 => quoted_v4(bytes)?,
        Family::V6 => quoted_v6(bytes)?,
    };
    // Extension headers may say that the transport is beyond what is quoted.
    tuple(&headers, bytes.get(usize::from(headers.l4)..).unwrap_or(&[]), trackers)
}

/// The headers of a quotation as far as a tuple needs them.
fn quoted_headers(family: Family, protocol: u8, src: Addr, dst: Addr, l4: usize, len: usize) -> Option<Headers> {
    Some(Headers {
        family,
        protocol,
        tos: 0,
        ttl: 0,
        src,
        dst,
        l4: u16::try_from(l4).ok()?,
        len: u16::try_from(len).ok()?,
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: false,
        l4_whole: false,
        tcp_flags: TcpFlags(0),
        extensions: Extensions(0),
        sport: 0,
        dport: 0,
        icmp_type: 0,
        icmp_code: 0,
    })
}

fn quoted_v4(bytes: &[u8]) -> Option<Headers> {
    let fixed = bytes.first_chunk::<20>()?;
    let later_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    let l4 = usize::from(fixed[0] & 0x0f) * 4;
    if later_fragment || l4 > bytes.len() {
        return None;
    }
    let (src, dst) = (Addr::read(&fixed[12..16]), Addr::read(&fixed[16..20]));
    quoted_headers(Family::V4, fixed[9], src, dst, l4, bytes.len())
}

fn quoted_v6(bytes: &[u8]) -> Option<Headers> {
    let fixed = bytes.first_chunk::<40>()?;
    let (src, dst) = (Addr::read(&fixed[8..24]), Addr::read(&fixed[24..40]));
    let (mut protocol, mut at) = (fixed[6], 40);
    // ipv6_skip_exthdr
    loop {
        let length = match protocol {
            number::NO_NEXT => return None,
            number::FRAGMENT => {
                let header = bytes.get(at..at + 4)?;
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                    return None;
                }
                8
            }
            number::AH => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
            _ => return quoted_headers(Family::V6, protocol, src, dst, at, bytes.len()),
        };
        protocol = *bytes.get(at)?;
        at += length;
    }
}
