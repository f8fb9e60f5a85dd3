//! Packets that claim to come from somewhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::machine::Machine;
use crate::topology::OUTER;

const TCP: u8 = 6;
const UDP: u8 = 17;
const HEADER_V4: usize = 20;
const HEADER_V6: usize = 40;

/// Sends a packet with a source address of one's choice past the tunnel.
pub(super) fn send(from: &Machine, to: IpAddr, packet: &[u8]) -> Result<()> {
    from.within(|| {
        // raw(7): IPPROTO_RAW sends packets with the header that they come with.
        let socket = Socket::new(
            Domain::for_address(SocketAddr::new(to, 0)),
            Type::RAW,
            Some(Protocol::from(libc::IPPROTO_RAW)),
        )?;
        socket.bind_device(Some(OUTER.as_bytes()))?;
        socket
            .send_to(packet, &SocketAddr::new(to, 0).into())
            .context("cannot send a forged packet")?;
        Ok(())
    })
}

/// A UDP datagram.
pub(super) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut segment = Vec::new();
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(length.to_be_bytes());
    segment.extend([0; 2]);
    segment.extend(payload);
    packet(source.ip(), destination.ip(), UDP, 6, segment)
}

/// The first packet of a TCP connection.
pub(super) fn tcp_syn(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    // Sequence and acknowledgement number.
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    // A header of five words; SYN; window; checksum; urgent pointer.
    segment.extend([5 << 4, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    packet(source.ip(), destination.ip(), TCP, 16, segment)
}

/// An IP packet around a segment, with the segment's checksum at `checksum_at` filled in. Both addresses are of one family.
fn packet(source: IpAddr, destination: IpAddr, protocol: u8, checksum_at: usize, mut segment: Vec<u8>) -> Vec<u8> {
    let checksum = transport_checksum(source, destination, protocol, &segment);
    segment[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, protocol, &segment),
        (source, destination) => ipv6(as_v6(source), as_v6(destination), protocol, &segment),
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_V4 + segment.len()).unwrap_or(u16::MAX);
    // RFC 791 section 3.1; the kernel fills in checksum and identification.
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(segment);
    packet
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    // RFC 8200 section 3.
    let mut packet = Vec::with_capacity(HEADER_V6 + segment.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(segment);
    packet
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// RFC 1071 over the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) and the segment.
fn transport_checksum(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let mut covered = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => covered.extend(address.octets()),
            IpAddr::V6(address) => covered.extend(address.octets()),
        }
    }
    covered.extend(u32::try_from(segment.len()).unwrap_or(u32::MAX).to_be_bytes());
    covered.extend(u32::from(protocol).to_be_bytes());
    covered.extend(segment);
    match !ones_complement_sum(&covered) {
        // RFC 768: zero would say that there is no checksum.
        0 if protocol == UDP => 0xffff,
        checksum => checksum,
    }
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_in_rfc_1071() {
        // Its section 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is ddf2.
        assert_eq!(ones_complement_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(ones_complement_sum(&[0x12]), 0x1200);
    }

    #[test]
    fn lengths_and_addresses() {
        let v4 = udp(
            "192.168.4.2:1000".parse().unwrap(),
            "10.0.123.4:1234".parse().unwrap(),
            b"abc",
        );
        assert_eq!((v4.len(), &v4[2..4], v4[9]), (31, [0, 31].as_slice(), 17));
        assert_eq!(&v4[12..20], [192, 168, 4, 2, 10, 0, 123, 4]);
        assert_eq!(&v4[22..24], 1234u16.to_be_bytes());
        let v6 = tcp_syn("[fd00:4::2]:1000".parse().unwrap(), "[fd00:123::4]:1234".parse().unwrap());
        assert_eq!((v6.len(), &v6[4..6], v6[6]), (60, [0, 20].as_slice(), 6));
        assert_eq!(v6[8..12], [0xfd, 0, 0, 4]);
        assert_eq!(v6[53], 0x02, "SYN and nothing else");
    }

    #[test]
    fn a_filled_in_checksum_sums_to_nothing() {
        let source: SocketAddr = "[fd00:4::2]:1000".parse().unwrap();
        let destination: SocketAddr = "[fd00:123::4]:1234".parse().unwrap();
        for packet in [udp(source, destination, b"odd"), tcp_syn(source, destination)] {
            let sum = transport_checksum(source.ip(), destination.ip(), packet[6], &packet[HEADER_V6..]);
            // For UDP, zero is written as its other form.
            assert!(sum == 0 || (packet[6] == UDP && sum == 0xffff), "{sum:04x}");
        }
    }
}
