//! Helpers rewrite payloads; what changes its length moves the sequence numbers of all that follows (`nf_nat_helper.c`,
//! `nf_conntrack_seqadj.c`).

use std::ops::Range;

use fielato_wire::{Family, checksum, number};

use crate::Packet;
use crate::conntrack::{ConnId, Conntrack, Direction, Status};
use crate::nat::SeqAdjust;

/// Puts `text` in the place of `range` of a TCP packet's payload. Lengths and checksums are made right, and the connection
/// remembers by how much later sequence numbers are to be moved. False, and nothing changes, when the packet would be
/// longer than 65,535 bytes or the range is not in it (`nf_nat_mangle_tcp_packet`).
pub(crate) fn mangle_tcp(
    conntrack: &mut Conntrack,
    packet: &mut Packet,
    id: ConnId,
    direction: Direction,
    range: Range<usize>,
    text: &[u8],
) -> bool {
    let headers = packet.headers;
    let Some(header) = packet.transport().first_chunk::<20>() else {
        return false;
    };
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let payload = usize::from(headers.l4) + usize::from(header[12] >> 4) * 4;
    let place = payload.saturating_add(range.start)..payload.saturating_add(range.end);
    let old_len = place.len();
    let len = packet.data.len().saturating_sub(old_len).saturating_add(text.len());
    if headers.protocol != number::TCP || len > usize::from(u16::MAX) || packet.data.get(place.clone()).is_none() {
        return false;
    }
    packet.data.splice(place, text.iter().copied());
    match headers.family {
        Family::V4 => {
            let header = &mut packet.data[..usize::from(headers.l4)];
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            header[10..12].fill(0);
            let check = checksum::checksum(header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => packet.data[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes()),
    }
    let tcp = &mut packet.data[usize::from(headers.l4)..];
    tcp[16..18].fill(0);
    let check = checksum::transport(headers.src, headers.dst, number::TCP, tcp);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    packet.pieces = None;
    if packet.reparse().is_err() {
        return false;
    }
    if old_len != text.len()
        && let Some(conn) = conntrack.get_mut(id)
    {
        conn.status.set(Status::SEQ_ADJUST);
        let delta = text.len() as i32 - old_len as i32;
        conn.extra_mut().sequence[direction.index()].note(seq, delta);
    }
    true
}

/// Moves a segment's numbers: its own by what was inserted in its direction, its ACK and SACK back by what was inserted in
/// the other (`nf_ct_seq_adjust`). `sequence` is the connection's, by direction. False when the header can't be read.
pub(crate) fn adjust(packet: &mut Packet, sequence: &[SeqAdjust; 2], direction: Direction) -> bool {
    const ACK: u8 = 0x10;
    let this = sequence[direction.index()];
    let other = sequence[direction.reverse().index()];
    let headers = packet.headers;
    let tcp = headers.transport_mut(&mut packet.data);
    if tcp.len() < 20 {
        return false;
    }
    replace(tcp, 4, |seq| seq.wrapping_add(this.offset_at(seq) as u32));
    if tcp[13] & ACK == 0 {
        return true;
    }
    replace(tcp, 8, |ack| other.restore(ack));
    adjust_sack(tcp, &other)
}

/// Moves the edges of SACK blocks (`nf_ct_sack_adjust`). False when options are cut off.
fn adjust_sack(tcp: &mut [u8], other: &SeqAdjust) -> bool {
    const SACK: u8 = 5;
    let end = usize::from(tcp[12] >> 4) * 4;
    if end > tcp.len() {
        return false;
    }
    let mut at = 20;
    while at < end {
        let len = match tcp[at] {
            0 => return true,
            1 => 1,
            kind => {
                let len = if at + 1 < end { usize::from(tcp[at + 1]) } else { 0 };
                if len < 2 || at + len > end {
                    return false;
                }
                if kind == SACK && len >= 10 && (len - 2) % 8 == 0 {
                    for edge in (at + 2..at + len).step_by(4) {
                        replace(tcp, edge, |seq| other.restore(seq));
                    }
                }
                len
            }
        };
        at += len;
    }
    true
}

/// Replaces the 32-bit number at `at` of a TCP header, and updates the checksum.
fn replace(tcp: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    let old = u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let new = change(old);
    if new == old {
        return;
    }
    tcp[at..at + 4].copy_from_slice(&new.to_be_bytes());
    let mut check = u16::from_be_bytes([tcp[16], tcp[17]]);
    // A number at an odd place (options need not be aligned) is summed with its bytes swapped.
    check = if at.is_multiple_of(2) {
        checksum::update32(check, old, new)
    } else {
        checksum::update32(check.swap_bytes(), old, new).swap_bytes()
    };
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_what_comes_after_a_change() {
        let mut moved = SeqAdjust::default();
        moved.note(1_000, 5);
        assert_eq!([moved.offset_at(1_000), moved.offset_at(1_001)], [0, 5]);
        moved.note(1_000, 5); // The same segment again.
        assert_eq!(moved.offset_at(2_000), 5);
        moved.note(2_000, -7);
        assert_eq!([moved.offset_at(2_000), moved.offset_at(2_001)], [5, -2]);
        for seq in [1_500u32, 2_000, 9_000] {
            assert_eq!(moved.restore(seq.wrapping_add(moved.offset_at(seq) as u32)), seq);
        }
    }

    #[test]
    fn sack_edges_move_and_the_checksum_stays_right() {
        for pad in [&[1, 1][..], &[1], &[1, 1, 1]] {
            let mut tcp = vec![0; 20];
            tcp[8..12].copy_from_slice(&5_010u32.to_be_bytes());
            tcp[13] = 0x10;
            tcp.extend_from_slice(pad);
            tcp.extend_from_slice(&[5, 10]);
            tcp.extend_from_slice(&6_010u32.to_be_bytes());
            tcp.extend_from_slice(&7_010u32.to_be_bytes());
            tcp.resize(36, 0);
            tcp[12] = 9 << 4;
            let mut ip = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            ip.extend(tcp);
            let mut packet = Packet::local(ip).unwrap();
            let sum = |packet: &Packet| checksum::transport(packet.headers.src, packet.headers.dst, 6, packet.transport());
            let check = sum(&packet);
            packet.data[36..38].copy_from_slice(&check.to_be_bytes());
            let back = SeqAdjust {
                correction: 4_000,
                before: 0,
                after: 10,
            };
            assert!(adjust(&mut packet, &[SeqAdjust::default(), back], Direction::Original));
            assert_eq!(sum(&packet), 0);
            let at = 40 + pad.len() + 2;
            assert_eq!(packet.data[28..32], 5_000u32.to_be_bytes());
            assert_eq!(packet.data[at..at + 4], 6_000u32.to_be_bytes());
            assert_eq!(packet.data[at + 4..at + 8], 7_000u32.to_be_bytes());
            // An option beyond the header.
            packet.data[at - 1] = 200;
            assert!(!adjust(&mut packet, &[SeqAdjust::default(), back], Direction::Original));
        }
    }
}
