//! Transport checksums of received packets (`nf_checksum`, `sctp_compute_cksum`).

use fielato_wire::{Headers, checksum, number};

use super::dccp;

/// Whether the checksum is right, or the protocol has none that is verified.
pub(super) fn is_right(headers: &Headers, transport: &[u8]) -> bool {
    let folds = |protocol: u8, covered: usize| {
        let pseudo = checksum::pseudo(headers.src, headers.dst, protocol, transport.len() as u32);
        let bytes = transport.get(..covered).unwrap_or(transport);
        checksum::fold(pseudo + checksum::sum(bytes)) == 0xffff
    };
    match headers.protocol {
        number::TCP | number::ICMPV6 => folds(headers.protocol, transport.len()),
        number::UDP => word(transport, 6) == 0 || folds(number::UDP, transport.len()),
        number::UDPLITE => {
            let covered = match word(transport, 4) {
                0 => transport.len(),
                covered => usize::from(covered),
            };
            // The kernel sums the pseudo header with UDP's number, not UDP-Lite's own (`udplite_error`).
            folds(number::UDP, covered)
        }
        number::ICMP => checksum::checksum(transport) == 0,
        number::DCCP => folds(number::DCCP, dccp::coverage(transport)),
        number::SCTP => crc32c_of_sctp(transport) == transport.get(8..12).map_or(0, le32),
        _ => true,
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// CRC32c of an SCTP packet with its checksum field taken as zero (RFC 9260, appendix A).
fn crc32c_of_sctp(packet: &[u8]) -> u32 {
    let zeroed = |at: usize, byte: u8| if (8..12).contains(&at) { 0 } else { byte };
    let step = |crc: u32, (at, &byte): (usize, &u8)| crc >> 8 ^ CRC32C[usize::from((crc as u8) ^ zeroed(at, byte))];
    !packet.iter().enumerate().fold(!0, step)
}

/// The reflected table of polynomial 0x1edc6f41.
static CRC32C: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_castagnolis() {
        // RFC 3720 §B.4: 32 bytes of zeros; the field that SCTP leaves out is zero as well.
        assert_eq!(crc32c_of_sctp(&[0; 32]), 0x8a91_36aa);
    }
}
