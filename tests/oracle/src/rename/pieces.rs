//! Pieces of a datagram are renamed with the others of it: a port may stand in one of them and its checksum in another, and what
//! an ICMP error quotes may be spread over several.

use fielato_wire::{Addr, Family, Headers, build, number};

use super::{Naming, Renames};

/// What one piece tells about its datagram and its place in it.
struct Piece {
    /// Addresses, protocol and identification: the same in all pieces.
    datagram: (Addr, Addr, u8, u32),
    /// Where the payload begins in the piece, and in the whole datagram.
    start: [usize; 2],
    /// How much of the payload is in pieces before this.
    offset: usize,
}

impl Piece {
    fn of(packet: &[u8]) -> Option<Piece> {
        let headers = Headers::parse(packet).ok().filter(Headers::is_fragment)?;
        let (start, id) = match headers.family {
            Family::V4 => {
                let at = headers.ip_header_len();
                ([at, at], [0, 0, packet[4], packet[5]])
            }
            Family::V6 => {
                let at = fragment_header(packet)?;
                let id = packet.get(at + 4..at + 8)?;
                ([at + 8, at], [id[0], id[1], id[2], id[3]])
            }
        };
        Some(Piece {
            datagram: (headers.src, headers.dst, headers.protocol, u32::from_be_bytes(id)),
            start,
            offset: usize::from(headers.fragment_offset),
        })
    }
}

impl Renames {
    /// The packet in another naming. When it is a piece of a datagram, what is renamed is the datagram that it makes with the
    /// others of it in `among`, itself included; alone if these are not one whole datagram.
    pub fn rename_among<'a>(&self, packet: &[u8], among: impl Iterator<Item = &'a [u8]>, to: Naming) -> Vec<u8> {
        if self.is_empty() {
            return packet.to_vec();
        }
        self.rename_piece(packet, among, to)
            .unwrap_or_else(|| self.rename(packet, to))
    }

    fn rename_piece<'a>(&self, packet: &[u8], among: impl Iterator<Item = &'a [u8]>, to: Naming) -> Option<Vec<u8>> {
        let own = Piece::of(packet)?;
        let is_sibling = |other: &&[u8]| Piece::of(other).is_some_and(|other| other.datagram == own.datagram);
        let pieces: Vec<&[u8]> = among.filter(is_sibling).collect();
        let whole = self.rename(&build::reassemble(&pieces)?, to);
        let mut renamed = packet.to_vec();
        let payload = renamed.get_mut(own.start[0]..)?;
        let from = own.start[1] + own.offset;
        payload.copy_from_slice(whole.get(from..from + payload.len())?);
        Some(renamed)
    }
}

/// Where the IPv6 fragment header stands, whole.
pub fn fragment_header(packet: &[u8]) -> Option<usize> {
    let (mut kind, mut at) = (*packet.get(6)?, 40);
    loop {
        let header = packet.get(at..at + 8)?;
        match kind {
            number::FRAGMENT => return Some(at),
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => at += (usize::from(header[1]) + 1) * 8,
            _ => return None,
        }
        kind = header[0];
    }
}
