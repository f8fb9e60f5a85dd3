//! Packets that are wrong, unusual or in pieces.

use fielato_wire::{Family, Headers, build, checksum, number};

use super::{Input, Traffic, sum_v4};
use crate::subject::Port;

impl Traffic {
    /// Changes something that a careful receiver would notice.
    pub(super) fn spoil(&mut self, (port, packet): &mut Input) {
        let Ok(headers) = Headers::parse(packet) else {
            return;
        };
        let transport = headers.transport(packet).len();
        let random = &mut self.random;
        match random.weighted(&[14, 16, 12, 10, 10, 5, 4, 4, 3]) {
            // A wrong transport checksum, by a bit of the payload or of the checksum itself.
            0 => {
                let bytes = headers.transport_mut(packet);
                if let Some(index) = bytes.len().checked_sub(1) {
                    bytes[if random.chance(50) { index } else { 2 * index / 3 }] ^= 1;
                }
            }
            // Out of the window, a little or far.
            1 if headers.protocol == number::TCP && headers.l4_whole => {
                let shift = *random.pick(&[1u32, 70_000, 0x4000_0000, 0x9000_0000, u32::MAX, 0u32.wrapping_sub(80_000)]);
                let at = *random.pick(&[4, 8]);
                let bytes = headers.transport_mut(packet);
                let number = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                bytes[at..at + 4].copy_from_slice(&number.wrapping_add(shift).to_be_bytes());
                sum_transport(packet, &headers);
            }
            2 if headers.protocol == number::TCP && headers.l4_whole => {
                headers.transport_mut(packet)[13] = random.bits() as u8;
                sum_transport(packet, &headers);
            }
            3 => {
                let ttl = *random.pick(&[1, 2, 3, 255]);
                packet[if headers.family == Family::V4 { 8 } else { 7 }] = ttl;
                sum_v4(packet, &headers);
            }
            // Cut short, with lengths that say so.
            4 if transport > 0 => {
                let keep = random.below(transport.min(24));
                packet.truncate(headers.ip_header_len() + keep);
                let total = packet.len() as u16;
                match headers.family {
                    Family::V4 => packet[2..4].copy_from_slice(&total.to_be_bytes()),
                    Family::V6 => packet[4..6].copy_from_slice(&(total - 40).to_be_bytes()),
                }
                sum_v4(packet, &headers);
            }
            // What the machine itself sends gets a right header from the kernel.
            5 if headers.family == Family::V4 && *port != Port::Host => packet[10] ^= 0x55,
            6 if *port != Port::Host => packet.extend_from_slice(&[0; 7]),
            // No UDP checksum.
            7 if headers.protocol == number::UDP && transport >= 8 => headers.transport_mut(packet)[6..8].fill(0),
            // A chain of extension headers that ends too soon, or goes on beyond the packet.
            8 if headers.family == Family::V6 && headers.ip_header_len() > 48 && !headers.is_fragment() => {
                let keep = random.between(48, headers.ip_header_len() as u32 - 1) as usize;
                packet.truncate(keep);
                packet[4..6].copy_from_slice(&(keep as u16 - 40).to_be_bytes());
            }
            _ => {}
        }
    }

    /// Cuts a packet into fragments, of which the first is returned and the others are sent next: in order or not, with
    /// one missing, twice or overlapping.
    pub(super) fn cut(&mut self, (port, packet): Input) -> Input {
        let Ok(headers) = Headers::parse(&packet) else {
            return (port, packet);
        };
        let payload = headers.transport(&packet).len();
        let size = headers.ip_header_len() + 8 + (self.random.between(1, 30) as usize * 8).max(payload / 6 / 8 * 8);
        let id = 0x1000_0000 | u32::from(self.id);
        let mut pieces = match build::fragments(&packet, size, id) {
            Ok(pieces) if pieces.len() > 1 => pieces,
            _ => return (port, packet),
        };
        match self.random.weighted(&[50, 20, 10, 8, 6, 6]) {
            0 => {}
            1 => pieces.reverse(),
            2 => {
                for index in (1..pieces.len()).rev() {
                    pieces.swap(index, self.random.below(index + 1));
                }
            }
            3 => drop(pieces.remove(self.random.below(pieces.len()))),
            4 => {
                let twice = self.random.pick(&pieces).clone();
                pieces.insert(self.random.below(pieces.len()), twice);
            }
            _ => overlap(&mut pieces, headers.family),
        }
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or(packet);
        self.pieces.extend(pieces.map(|piece| (port, piece)));
        (port, first)
    }
}

/// Moves the last fragment 8 bytes back.
fn overlap(pieces: &mut [Vec<u8>], family: Family) {
    let Some(last) = pieces.last_mut() else {
        return;
    };
    match family {
        Family::V4 => {
            let word = u16::from_be_bytes([last[6], last[7]]).wrapping_sub(1);
            last[6..8].copy_from_slice(&word.to_be_bytes());
            if let Ok(headers) = Headers::parse(last) {
                sum_v4(last, &headers);
            }
        }
        Family::V6 => {
            // Hop-by-hop and routing headers may stand before the fragment header; then the piece stays as it is.
            if last[6] == number::FRAGMENT && last.len() >= 48 {
                let word = u16::from_be_bytes([last[42], last[43]]).wrapping_sub(8);
                last[42..44].copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

/// Makes TCP's checksum right.
fn sum_transport(packet: &mut [u8], headers: &Headers) {
    let bytes = headers.transport_mut(packet);
    bytes[16..18].fill(0);
    let check = checksum::transport(headers.src, headers.dst, headers.protocol, bytes);
    bytes[16..18].copy_from_slice(&check.to_be_bytes());
}
