//! SCTP's checksum (RFC 9260 appendix A), for packets whose ports are renamed.

const PLACE: std::ops::Range<usize> = 8..12;

fn of(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = if PLACE.contains(&at) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            // Castagnoli's polynomial, reflected.
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

/// Whether the packet's checksum is right; `bytes` holds 12 at least.
pub(crate) fn is_right(bytes: &[u8]) -> bool {
    of(bytes) == bytes[PLACE]
}

/// Makes it right.
pub(crate) fn write(bytes: &mut [u8]) {
    let crc = of(bytes);
    bytes[PLACE].copy_from_slice(&crc);
}

#[cfg(test)]
mod tests {
    use super::*;
    use fielato_wire::build::Ip;

    #[test]
    fn agrees_with_the_builder() {
        let packet = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(1, 2, 3, &[6, 0, 0, 4]);
        assert!(is_right(&packet[20..]));
        let mut other = packet.clone();
        other[21] = 9;
        assert!(!is_right(&other[20..]));
        write(&mut other[20..]);
        assert_eq!(other, Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(9, 2, 3, &[6, 0, 0, 4]));
    }
}
