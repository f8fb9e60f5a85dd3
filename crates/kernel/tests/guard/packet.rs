//! Packets and random numbers for the guard's tests.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv4 packet of `length` bytes, UDP to 192.0.2.200, with a right header checksum.
pub fn ipv4(source: Ipv4Addr, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&[192, 0, 2, 200]);
    let sum: u32 = packet[..20]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

/// An IPv6 packet of `length` bytes, UDP to fd00::200.
pub fn ipv6(source: Ipv6Addr, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(length as u16 - 40).to_be_bytes());
    packet[6] = 17;
    packet[7] = 64;
    packet[8..24].copy_from_slice(&source.octets());
    packet[24..40].copy_from_slice(&"fd00::200".parse::<Ipv6Addr>().unwrap().octets());
    packet
}

/// The packet in an Ethernet frame.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &kind[..], packet].concat()
}

/// The frame with VLAN tags, the outermost of more than one an 802.1ad tag.
pub fn vlan(frame: &[u8], tags: usize) -> Vec<u8> {
    let mut tagged = frame.to_vec();
    for tag in 0..tags {
        let kind: [u8; 2] = if tag == 0 { [0x81, 0x00] } else { [0x88, 0xa8] };
        tagged.splice(12..12, [kind[0], kind[1], 0, 7]);
    }
    tagged
}

/// A small generator with a fixed seed (xorshift64*), so that a failure can be run again.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// A ping to 192.0.2.200.
pub fn echo(source: Ipv4Addr) -> Vec<u8> {
    let mut packet = ipv4(source, 28);
    // Protocol ICMP instead of UDP: 16 less in the sum of the header's words, so 16 more in the checksum.
    packet[9] = 1;
    let checksum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 16;
    let checksum = (checksum & 0xffff) + (checksum >> 16);
    packet[10..12].copy_from_slice(&(checksum as u16).to_be_bytes());
    // Type 8, code 0, checksum, identifier 0, number 0.
    packet[20..24].copy_from_slice(&[8, 0, 0xf7, 0xff]);
    packet
}
