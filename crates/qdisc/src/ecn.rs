//! Telling a packet's ends of congestion without losing it (RFC 3168).

use fielato_wire::checksum;

use crate::packet::Packet;

const ECN: u8 = 0b11;

/// Marks a packet as having met congestion; false when its ends don't speak ECN. Only then is it touched: the embedder may have
/// work to do before its bytes may change.
pub(crate) fn mark<P: Packet>(packet: &mut P) -> bool {
    let capable = match packet.bytes() {
        [first, second, ..] if first >> 4 == 6 => (second >> 4) & ECN != 0,
        [first, second, ..] if first >> 4 == 4 => second & ECN != 0,
        _ => false,
    };
    capable && mark_bytes(packet.bytes_mut())
}

/// Marks `packet` (from its IP header on) as having met congestion. False, and nothing done, when its ends don't speak ECN
/// (Not-ECT) or it is no IP packet. A packet that is marked already is as good as marked now (`INET_ECN_set_ce`).
fn mark_bytes(packet: &mut [u8]) -> bool {
    match packet {
        // The two bits stand across the second byte's upper half: four bits of traffic class, four of the flow label.
        [first, second, ..] if *first >> 4 == 6 => {
            let capable = (*second >> 4) & ECN != 0;
            if capable {
                *second |= ECN << 4;
            }
            capable
        }
        [first, second, ..] if *first >> 4 == 4 => {
            let (version, old) = (*first, *second);
            if old & ECN == 0 {
                return false;
            }
            let new = old | ECN;
            *second = new;
            if let Some([high, low]) = packet.get_mut(10..12) {
                let before = u16::from_be_bytes([version, old]);
                let after = u16::from_be_bytes([version, new]);
                let sum = checksum::update16(u16::from_be_bytes([*high, *low]), before, after);
                [*high, *low] = sum.to_be_bytes();
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(tos: u8) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 20, 1, 2, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = checksum::checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn v6(class: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | 0x5;
        packet
    }

    #[test]
    fn only_those_who_speak_ecn_are_marked() {
        for (before, after, marked) in [
            (0xb8, 0xb8, false),
            (0xb9, 0xbb, true),
            (0xba, 0xbb, true),
            (0xbb, 0xbb, true),
        ] {
            let mut packet = v4(before);
            assert_eq!(mark_bytes(&mut packet), marked, "{before:#x}");
            assert_eq!(packet, v4(after), "the checksum is right, too");

            let mut packet = v6(before);
            assert_eq!(mark_bytes(&mut packet), marked, "{before:#x}");
            assert_eq!(packet, v6(after), "the flow label stays");
        }
    }

    #[test]
    fn what_is_no_ip_packet_stays() {
        for bytes in [&[][..], &[0x45], &[0x60], &[0x15, 0xff, 0], &[0, 0]] {
            let mut packet = bytes.to_vec();
            assert!(!mark_bytes(&mut packet));
            assert_eq!(packet, bytes);
        }
        // Cut off in the middle: marked without a checksum to mend.
        let mut packet = [0x45, 1, 0];
        assert!(mark_bytes(&mut packet));
        assert_eq!(packet, [0x45, 3, 0]);
    }
}
