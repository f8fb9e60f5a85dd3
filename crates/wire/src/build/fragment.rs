//! A packet cut into fragments, and fragments put together again.

use crate::{Family, Headers, Malformed, checksum, number};

/// Why a packet can't be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotFragment {
    /// It is none.
    #[error("no IP packet: {}", .0.name())]
    Malformed(Malformed),
    /// Header and 8 bytes of payload don't fit.
    #[error("an MTU of {mtu} has no room for the header of {header} bytes and 8 of payload: give at least {}", header + 8)]
    Mtu {
        /// What was given.
        mtu: usize,
        /// What each fragment repeats.
        header: usize,
    },
    /// An IPv6 packet that is a fragment already: routers don't cut (RFC 8200 §4.5).
    #[error("the IPv6 packet is a fragment already")]
    Fragment,
}

/// Cuts `packet` into fragments of at most `mtu` bytes, in order; a packet that fits comes back alone. `id` is the
/// identification of IPv6's fragments; IPv4's keep the packet's, and a fragment can be cut again. The flag "don't fragment" is
/// not asked.
///
/// # Errors
/// [`CannotFragment`].
pub fn fragments(packet: &[u8], mtu: usize, id: u32) -> Result<Vec<Vec<u8>>, CannotFragment> {
    let headers = Headers::parse(packet).map_err(CannotFragment::Malformed)?;
    let packet = &packet[..usize::from(headers.len)];
    if packet.len() <= mtu {
        return Ok(vec![packet.to_vec()]);
    }
    match headers.family {
        Family::V4 => fragments_v4(packet, &headers, mtu),
        Family::V6 => fragments_v6(packet, &headers, mtu, id),
    }
}

fn piece_len(mtu: usize, header: usize) -> Result<usize, CannotFragment> {
    match mtu.saturating_sub(header) & !7 {
        0 => Err(CannotFragment::Mtu { mtu, header }),
        len => Ok(len),
    }
}

fn fragments_v4(packet: &[u8], headers: &Headers, mtu: usize) -> Result<Vec<Vec<u8>>, CannotFragment> {
    let (header, payload) = packet.split_at(headers.ip_header_len());
    let len = piece_len(mtu, header.len())?;
    let count = payload.len().div_ceil(len);
    let later = without_uncopied_options(header);
    let mut all = Vec::with_capacity(count);
    for (index, piece) in payload.chunks(len).enumerate() {
        let mut fragment = if index == 0 { header.to_vec() } else { later.clone() };
        fragment.extend_from_slice(piece);
        let more = headers.more_fragments || index + 1 < count;
        let offset = usize::from(headers.fragment_offset) + index * len;
        let word = u16::from(headers.dont_fragment) << 14 | u16::from(more) << 13 | (offset / 8) as u16 & 0x1fff;
        let total = fragment.len() as u16;
        fragment[2..4].copy_from_slice(&total.to_be_bytes());
        fragment[6..8].copy_from_slice(&word.to_be_bytes());
        sum_v4(&mut fragment, header.len());
        all.push(fragment);
    }
    Ok(all)
}

/// RFC 791 §3.1: options without the copied bit stand in the first fragment only. As the kernel's `ip_options_fragment`, they are
/// overwritten by no-operations, so that the header's length stays.
fn without_uncopied_options(header: &[u8]) -> Vec<u8> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut header = header.to_vec();
    let mut at = 20;
    while let Some(&kind) = header.get(at) {
        let len = match kind {
            END => break,
            NO_OPERATION => 1,
            _ => match header.get(at + 1) {
                Some(&len) if len >= 2 && at + usize::from(len) <= header.len() => usize::from(len),
                _ => break,
            },
        };
        if kind & COPIED == 0 {
            header[at..at + len].fill(NO_OPERATION);
        }
        at += len;
    }
    header
}

fn sum_v4(packet: &mut [u8], header_len: usize) {
    packet[10..12].fill(0);
    let check = checksum::checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

fn fragments_v6(packet: &[u8], headers: &Headers, mtu: usize, id: u32) -> Result<Vec<Vec<u8>>, CannotFragment> {
    let (split, next_at) = per_fragment_headers(packet);
    let next = packet[next_at];
    if next == number::FRAGMENT || headers.is_fragment() {
        return Err(CannotFragment::Fragment);
    }
    let (header, payload) = packet.split_at(split);
    let len = piece_len(mtu, header.len() + 8)?;
    let count = payload.len().div_ceil(len);
    let mut all = Vec::with_capacity(count);
    for (index, piece) in payload.chunks(len).enumerate() {
        let mut fragment = header.to_vec();
        fragment[next_at] = number::FRAGMENT;
        let word = (index * len) as u16 & 0xfff8 | u16::from(index + 1 < count);
        fragment.extend_from_slice(&[next, 0]);
        fragment.extend_from_slice(&word.to_be_bytes());
        fragment.extend_from_slice(&id.to_be_bytes());
        fragment.extend_from_slice(piece);
        let payload_len = (fragment.len() - 40) as u16;
        fragment[4..6].copy_from_slice(&payload_len.to_be_bytes());
        all.push(fragment);
    }
    Ok(all)
}

/// RFC 8200 §4.5: what every fragment repeats ends after the hop-by-hop options and a routing header with the destination
/// options before it. Returns that length, and where its last next-header byte stands. `packet` parses as IPv6.
fn per_fragment_headers(packet: &[u8]) -> (usize, usize) {
    let mut end = (40, 6);
    let (mut at, mut next_at) = end;
    loop {
        let kind = packet[next_at];
        let Some(header) = packet.get(at..at + 2) else {
            return end;
        };
        if !matches!(kind, number::HOP_BY_HOP | number::ROUTING | number::DESTINATION) {
            return end;
        }
        let len = (usize::from(header[1]) + 1) * 8;
        if at + len > packet.len() {
            return end;
        }
        next_at = at;
        at += len;
        if kind != number::DESTINATION {
            end = (at, next_at);
        }
    }
}

/// Puts the fragments of one datagram together, given in any order. `None` when pieces are missing, overlap or differ in
/// addresses, protocol or identification, or when the datagram would be too long.
pub fn reassemble(fragments: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let mut pieces = Vec::with_capacity(fragments.len());
    for fragment in fragments {
        let fragment = fragment.as_ref();
        let headers = Headers::parse(fragment).ok()?;
        pieces.push(Piece::of(fragment, &headers)?);
    }
    pieces.sort_by_key(|piece| piece.offset);
    let first = *pieces.first()?;
    let mut packet = first.header.to_vec();
    let mut at = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        if piece.key != first.key || usize::from(piece.offset) != at || piece.more == last {
            return None;
        }
        at += piece.payload.len();
        packet.extend_from_slice(piece.payload);
    }
    let total = u16::try_from(packet.len()).ok()?;
    match first.next_at {
        Some(next_at) => {
            *packet.get_mut(next_at)? = first.next;
            packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
        }
        None => {
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            // Only "don't fragment" stays.
            packet[6] &= 0x40;
            packet[7] = 0;
            sum_v4(&mut packet, first.header.len());
        }
    }
    Some(packet)
}

#[derive(Clone, Copy)]
struct Piece<'a> {
    /// Source, destination, protocol, identification.
    key: (crate::Addr, crate::Addr, u8, u32),
    header: &'a [u8],
    payload: &'a [u8],
    /// IPv6: where the header's last next-header byte stands.
    next_at: Option<usize>,
    next: u8,
    offset: u16,
    more: bool,
}

impl<'a> Piece<'a> {
    fn of(packet: &'a [u8], headers: &Headers) -> Option<Piece<'a>> {
        let packet = &packet[..usize::from(headers.len)];
        let piece = |header, payload, next_at, next, id| Piece {
            key: (headers.src, headers.dst, next, id),
            header,
            payload,
            next_at,
            next,
            offset: headers.fragment_offset,
            more: headers.more_fragments,
        };
        match headers.family {
            Family::V4 => {
                let (header, payload) = packet.split_at(headers.ip_header_len());
                let id = u32::from(u16::from_be_bytes([packet[4], packet[5]]));
                Some(piece(header, payload, None, headers.protocol, id))
            }
            Family::V6 => {
                let (at, next_at) = per_fragment_headers(packet);
                let fragment = packet.get(at..at + 8)?;
                if packet[next_at] != number::FRAGMENT {
                    return None;
                }
                let id = u32::from_be_bytes([fragment[4], fragment[5], fragment[6], fragment[7]]);
                Some(piece(&packet[..at], &packet[at + 8..], Some(next_at), fragment[0], id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Extension, Ip};

    fn packets() -> Vec<Vec<u8>> {
        let payload: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).id(0x1234);
        let with_options = Ip {
            // Record route, not copied; router alert, copied.
            options: vec![7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0],
            ..v4.clone()
        };
        let v6 = Ip::new(Family::V6, crate::Addr { hi: 1, lo: 1 }, crate::Addr { hi: 1, lo: 2 });
        let with_extensions = v6
            .clone()
            .extension(Extension::HopByHop(vec![5, 2, 0, 0]))
            .extension(Extension::Destination(vec![]));
        [v4, with_options, v6, with_extensions]
            .iter()
            .map(|ip| ip.udp(1, 2, &payload))
            .collect()
    }

    #[test]
    fn fragments_make_the_packet_again() {
        for packet in packets() {
            for mtu in [120, 296, 576] {
                let mut pieces = fragments(&packet, mtu, 9).unwrap();
                assert!(pieces.len() > 1);
                for (index, piece) in pieces.iter().enumerate() {
                    let headers = Headers::receive(piece).unwrap();
                    assert!(piece.len() <= mtu && headers.is_fragment());
                    assert_eq!(headers.more_fragments, index + 1 < pieces.len());
                }
                pieces.reverse();
                assert_eq!(reassemble(&pieces), Some(packet.clone()));
                let hole = pieces.remove(1);
                assert_eq!(reassemble(&pieces), None);
                pieces.push(hole.clone());
                pieces.push(hole);
                assert_eq!(reassemble(&pieces), None, "an overlap");
            }
        }
    }

    #[test]
    fn a_fragment_of_ipv4_can_be_cut_again() {
        let packet = &packets()[0];
        let pieces = fragments(packet, 576, 0).unwrap();
        let mut smaller = Vec::new();
        for piece in &pieces {
            smaller.extend(fragments(piece, 296, 0).unwrap());
        }
        assert!(smaller.len() > pieces.len());
        assert_eq!(reassemble(&smaller).as_ref(), Some(packet));
    }

    #[test]
    fn options_that_are_not_copied_stay_behind() {
        let pieces = fragments(&packets()[1], 576, 0).unwrap();
        assert_eq!(pieces[0][20..32], [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0]);
        assert_eq!(pieces[1][20..32], [1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_cut_says_why() {
        let packets = packets();
        assert_eq!(
            fragments(&packets[0], 27, 0),
            Err(CannotFragment::Mtu { mtu: 27, header: 20 })
        );
        assert_eq!(
            fragments(&packets[2], 55, 0),
            Err(CannotFragment::Mtu { mtu: 55, header: 48 })
        );
        assert_eq!(
            fragments(&[0; 30], 100, 0),
            Err(CannotFragment::Malformed(Malformed::Version))
        );
        let pieces = fragments(&packets[2], 576, 0).unwrap();
        assert_eq!(fragments(&pieces[0], 300, 0), Err(CannotFragment::Fragment));
        assert_eq!(fragments(&packets[0], 2000, 0), Ok(vec![packets[0].clone()]));
    }
}
