//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::{Addr, number};

/// One's complement sum of `bytes`, folded once; an odd last byte counts as the high half of a word.
///
/// The sum is taken in the machine's own byte order, and turned at the end: that gives the same (RFC 1071 §2(B)).
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let total = if bytes.len() < LONG {
        sum_short(bytes)
    } else {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut lanes = Lanes::default();
        for block in blocks {
            lanes.add(block);
        }
        add(lanes.total(), sum_short(rest))
    };
    u64::from(u16::from_be(fold(total)))
}

/// Copies `from` to `to` and gives its sum as [`sum`] does, in one pass. Where the lengths differ the shorter counts.
#[inline]
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    let len = to.len().min(from.len());
    let (to, from) = (&mut to[..len], &from[..len]);
    if len < LONG {
        to.copy_from_slice(from);
        return sum(from);
    }
    let (to_blocks, to_rest) = to.as_chunks_mut::<BLOCK>();
    let (from_blocks, from_rest) = from.as_chunks::<BLOCK>();
    let mut lanes = Lanes::default();
    for (to, from) in to_blocks.iter_mut().zip(from_blocks) {
        let block = *from;
        *to = block;
        lanes.add(&block);
    }
    to_rest.copy_from_slice(from_rest);
    u64::from(u16::from_be(fold(add(lanes.total(), sum_short(from_rest)))))
}

/// From here on blocks are worth the lanes' total.
const LONG: usize = 4 * BLOCK;

/// Bytes that are summed at once: four registers of 128 bits.
const BLOCK: usize = 64;

/// Sums of 64-bit words side by side, without a carry between them, so that the compiler can keep them in vector registers.
///
/// Each lane has the words' sum modulo 2^64 and the sum of their upper halves, which can't overflow within any packet. The sum of
/// the lower halves is what is left when the upper halves are taken off: one shift less per word than two separate sums.
#[derive(Default)]
struct Lanes {
    words: [u64; BLOCK / 8],
    upper: [u64; BLOCK / 8],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<8>();
        for ((sum, upper), word) in self.words.iter_mut().zip(&mut self.upper).zip(words) {
            let word = u64::from_ne_bytes(*word);
            *sum = sum.wrapping_add(word);
            *upper = upper.wrapping_add(word >> 32);
        }
    }

    #[inline(always)]
    fn total(&self) -> u64 {
        let words = self.words.iter().fold(0, |total: u64, words| total.wrapping_add(*words));
        let upper = self.upper.iter().sum::<u64>();
        add(words.wrapping_sub(upper << 32), upper)
    }
}

/// The sum of a few bytes in the machine's byte order, not folded.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (words, mut rest) = bytes.as_chunks::<8>();
    let mut total = words.iter().fold(0, |total, word| add(total, u64::from_ne_bytes(*word)));
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        total = add(total, u64::from(u32::from_ne_bytes(*word)));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<2>() {
        total = add(total, u64::from(u16::from_ne_bytes(*word)));
        rest = after;
    }
    if let Some(&last) = rest.first() {
        total = add(total, u64::from(u16::from_ne_bytes([last, 0])));
    }
    total
}

/// One's complement addition: the carry comes in again below. 64 bits at a time are as good as 16 (RFC 1071 §2(C)).
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Folds a sum to 16 bits (not complemented).
#[inline]
pub const fn fold(sum: u64) -> u16 {
    let sum = fold_to_32(sum) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Folds a sum to 32 bits: added to itself with the halves exchanged, the upper half gets both halves and their carry.
#[inline]
const fn fold_to_32(sum: u64) -> u64 {
    sum.wrapping_add(sum.rotate_left(32)) >> 32
}

/// The checksum of `bytes` alone: IPv4 headers, ICMP.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1); `len` is the length of the transport part.
/// IPv4 addresses have low bits only, so that one sum serves both families.
#[inline]
pub fn pseudo(src: Addr, dst: Addr, protocol: u8, len: u32) -> u64 {
    let addresses = add(add(src.hi, src.lo), add(dst.hi, dst.lo));
    fold_to_32(add(addresses, u64::from(protocol) + u64::from(len)))
}

/// The checksum of a transport header and payload under its pseudo header. For UDP, zero is sent as 0xffff (RFC 768).
pub fn transport(src: Addr, dst: Addr, protocol: u8, bytes: &[u8]) -> u16 {
    let total = pseudo(src, dst, protocol, bytes.len() as u32) + sum(bytes);
    match !fold(total) {
        0 if protocol == number::UDP => 0xffff,
        check => check,
    }
}

/// The checksum after a 16-bit word under it went from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub const fn update16(check: u16, old: u16, new: u16) -> u16 {
    !fold(!check as u64 + !old as u64 + new as u64)
}

/// The checksum after a 32-bit word under it went from `old` to `new`.
#[inline]
pub const fn update32(check: u16, old: u32, new: u32) -> u16 {
    !fold(!check as u64 + !old as u64 + new as u64)
}

/// The checksum after an address under it went from `old` to `new`.
#[inline]
pub const fn update_addr(check: u16, old: Addr, new: Addr) -> u16 {
    let addresses = add(add(!old.hi, !old.lo), add(new.hi, new.lo));
    !fold(add(addresses, !check as u64))
}

/// CRC32c, reflected polynomial 0x82f63b78, a byte at a time.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC32c of `bytes`. An SCTP packet carries it little-endian, taken with the field itself as zero (RFC 9260 §6.8, appendix A).
pub fn crc32c(bytes: &[u8]) -> u32 {
    !crc32c_on(u32::MAX, bytes)
}

fn crc32c_on(crc: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(crc, |crc, byte| crc >> 8 ^ CRC32C[usize::from(crc as u8 ^ byte)])
}

/// The checksum that an SCTP packet should carry at its bytes 8 to 11, which count as zero (RFC 9260 §6.8); `None` when it has no
/// such bytes.
pub fn sctp(packet: &[u8]) -> Option<[u8; 4]> {
    let (head, rest) = (packet.get(..8)?, packet.get(12..)?);
    let crc = crc32c_on(crc32c_on(crc32c_on(u32::MAX, head), &[0; 4]), rest);
    Some((!crc).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_rfc_1071_does() {
        // RFC 1071 §3, the worked example.
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    /// Word by word, as RFC 1071 §1 defines it.
    fn defined(bytes: &[u8]) -> u16 {
        let mut total = 0u64;
        for word in bytes.chunks(2) {
            total += u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low));
        }
        fold(total)
    }

    #[test]
    fn sums_every_length_as_defined() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                assert_eq!(fold(sum(&bytes[from..to])), defined(&bytes[from..to]), "{from}..{to}");
            }
        }
        assert_eq!(fold(sum(&[0xff; 65_535])), defined(&[0xff; 65_535]));
        assert_eq!(sum(&[0; 64]), 0);
    }

    #[test]
    fn copies_every_length_and_sums_it() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                let mut copy = vec![0xaa; to - from + 1];
                assert_eq!(copy_and_sum(&mut copy[..to - from], &bytes[from..to]), sum(&bytes[from..to]));
                assert_eq!(copy[..to - from], bytes[from..to]);
                assert_eq!(copy[to - from], 0xaa, "{from}..{to} was overrun");
            }
        }
        let mut short = [0; 3];
        assert_eq!(copy_and_sum(&mut short, &bytes), sum(&bytes[..3]));
        assert_eq!(
            copy_and_sum(&mut [0; 65_535], &[0xff; 65_535]),
            u64::from(defined(&[0xff; 65_535]))
        );
    }

    #[test]
    fn updates_ipv6_addresses_as_if_summed_anew() {
        let mut bytes: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(77)).collect();
        for (from, to) in [([0u8; 16], [0xff; 16]), ([0xff; 16], [0; 16]), ([0x20; 16], [9; 16])] {
            bytes[8..24].copy_from_slice(&from);
            let before = checksum(&bytes);
            bytes[8..24].copy_from_slice(&to);
            assert_eq!(update_addr(before, Addr::read(&from), Addr::read(&to)), checksum(&bytes));
        }
    }

    #[test]
    fn crc32c_of_the_standard_vectors() {
        // RFC 3720 §B.4, and the check value every catalogue of CRCs gives.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn sctp_agrees_with_the_builder() {
        use crate::build::Ip;
        let sent = |sport| Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(sport, 2, 3, &[6, 0, 0, 4]);
        let packet = sent(1);
        assert_eq!(sctp(&packet[20..]).unwrap(), packet[28..32]);
        let mut other = packet.clone();
        other[21] = 9;
        assert_ne!(sctp(&other[20..]).unwrap(), other[28..32]);
        let check = sctp(&other[20..]).unwrap();
        other[28..32].copy_from_slice(&check);
        assert_eq!(other, sent(9));
        assert_eq!(sctp(&packet[20..31]), None);
    }

    #[test]
    fn updates_as_if_summed_anew() {
        let mut bytes = [0x45, 0, 0, 84, 1, 2, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let before = checksum(&bytes);
        bytes[15] = 99;
        assert_eq!(update16(before, 0x0001, 0x0063), checksum(&bytes));
        let (old, new) = (Addr::read(&[10, 0, 0, 99]), Addr::read(&[192, 168, 250, 7]));
        let before = checksum(&bytes);
        bytes[12..16].copy_from_slice(&[192, 168, 250, 7]);
        assert_eq!(update_addr(before, old, new), checksum(&bytes));
    }
}
