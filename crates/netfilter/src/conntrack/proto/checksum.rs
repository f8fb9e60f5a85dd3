//! Transport checksums of received packets (`nf_checksum`, `sctp_error`).

use fielato_wire::{Headers, checksum, number};

use super::dccp;

/// Whether the checksum of a packet of this protocol is right, or the protocol has none that is verified.
#[inline(always)]
pub(super) fn is_right(protocol: u8, headers: &Headers, transport: &[u8]) -> bool {
    let folds = |protocol: u8, covered: usize| {
        let pseudo = checksum::pseudo(headers.src, headers.dst, protocol, transport.len() as u32);
        let bytes = transport.get(..covered).unwrap_or(transport);
        checksum::fold(pseudo + checksum::sum(bytes)) == 0xffff
    };
    match protocol {
        number::TCP | number::ICMPV6 => folds(protocol, transport.len()),
        number::ICMP => checksum::checksum(transport) == 0,
        number::UDP => word(transport, 6) == 0 || folds(number::UDP, transport.len()),
        number::UDPLITE => {
            let covered = match word(transport, 4) {
                0 => transport.len(),
                covered => usize::from(covered),
            };
            // The kernel sums the pseudo header with UDP's number, not UDP-Lite's own (`udplite_error`).
            folds(number::UDP, covered)
        }
        number::DCCP => folds(number::DCCP, dccp::coverage(transport)),
        number::SCTP => checksum::sctp(transport).is_some_and(|check| check == transport[8..12]),
        _ => true,
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}
