//! Capture files in the classic format (pcap-savefile(5); draft-ietf-opsawg-pcap), as bytes.
//!
//! Written by hand: the format is two fixed headers, and the crates that write it want a `std::io` stream.

use std::time::Duration;

/// Link type of packets that start at the IP header, of either version (`LINKTYPE_RAW`).
const LINKTYPE_RAW: u32 = 101;
/// Link type of Ethernet frames.
const LINKTYPE_ETHERNET: u32 = 1;
/// Times are in microseconds.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// Times are in nanoseconds.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, since 1970-01-01 UTC.
    pub at: Duration,
    /// The packet from its IP header on, as far as it was captured.
    pub packet: Vec<u8>,
}

/// Why bytes are no capture file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// It starts otherwise.
    #[error("no capture file: it starts with 0x{0:08x}, not with pcap's magic number; convert pcapng with `editcap -F pcap`")]
    Magic(u32),
    /// It ends within the header.
    #[error("the capture file ends within its header")]
    Header,
    /// Neither raw IP nor Ethernet.
    #[error("link type {0} is not read here: capture on an interface of raw IP (101) or Ethernet (1)")]
    LinkType(u32),
    /// It ends within a packet.
    #[error("the capture file ends within packet {0}")]
    Cut(usize),
}

/// The header of a file of raw IP packets with nanoseconds; [`record`]s follow.
pub fn header() -> Vec<u8> {
    let mut file = Vec::with_capacity(24);
    file.extend_from_slice(&MAGIC_NANOS.to_le_bytes());
    // Version 2.4, two unused words.
    file.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&u32::from(u16::MAX).to_le_bytes());
    file.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    file
}

/// One packet of such a file. `at` is the time since 1970; its seconds wrap in 2106, as the format's do.
pub fn record(at: Duration, packet: &[u8]) -> Vec<u8> {
    let packet = &packet[..packet.len().min(usize::from(u16::MAX))];
    let mut record = Vec::with_capacity(16 + packet.len());
    for word in [
        at.as_secs() as u32,
        at.subsec_nanos(),
        packet.len() as u32,
        packet.len() as u32,
    ] {
        record.extend_from_slice(&word.to_le_bytes());
    }
    record.extend_from_slice(packet);
    record
}

/// Reads a file of either byte order and either unit of time. Of Ethernet frames, those with IP in them are kept, VLAN tags skipped.
///
/// # Errors
/// [`PcapError`].
pub fn read(file: &[u8]) -> Result<Vec<Captured>, PcapError> {
    let magic = file.first_chunk::<4>().ok_or(PcapError::Header)?;
    let (big, nanos) = match (u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)) {
        (MAGIC_MICROS, _) => (false, false),
        (MAGIC_NANOS, _) => (false, true),
        (_, MAGIC_MICROS) => (true, false),
        (_, MAGIC_NANOS) => (true, true),
        (other, _) => return Err(PcapError::Magic(other)),
    };
    let word = |at: usize| -> Option<u32> {
        let bytes = file.get(at..)?.first_chunk()?;
        Some(if big {
            u32::from_be_bytes(*bytes)
        } else {
            u32::from_le_bytes(*bytes)
        })
    };
    // The upper bits say whether frames end with a checksum; it lies behind the IP packet and does no harm.
    let link = word(20).ok_or(PcapError::Header)? & 0xffff;
    if !matches!(link, LINKTYPE_RAW | LINKTYPE_ETHERNET) {
        return Err(PcapError::LinkType(link));
    }
    let mut all = Vec::new();
    let mut at = 24;
    let mut number = 0;
    while at < file.len() {
        number += 1;
        let one = || {
            let (seconds, fraction, len) = (word(at)?, word(at + 4)?, word(at + 8)? as usize);
            let end = (at + 16).checked_add(len)?;
            Some((seconds, fraction, file.get(at + 16..end)?, end))
        };
        let (seconds, fraction, frame, end) = one().ok_or(PcapError::Cut(number))?;
        at = end;
        let fraction = if nanos {
            Duration::from_nanos(fraction.into())
        } else {
            Duration::from_micros(fraction.into())
        };
        let packet = if link == LINKTYPE_RAW {
            Some(frame)
        } else {
            within_ethernet(frame)
        };
        all.extend(packet.map(|packet| Captured {
            at: Duration::from_secs(seconds.into()) + fraction,
            packet: packet.to_vec(),
        }));
    }
    Ok(all)
}

/// The IP packet in an Ethernet frame, or `None` when there is something else.
pub fn within_ethernet(frame: &[u8]) -> Option<&[u8]> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    const VLAN: u16 = 0x8100;
    const SERVICE_VLAN: u16 = 0x88a8;
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        match kind {
            VLAN | SERVICE_VLAN => at += 4,
            IPV4 | IPV6 => return frame.get(at + 2..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Ip;

    fn packets() -> Vec<Captured> {
        let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(1, 2, b"x");
        let v6 = Ip::v6([1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 2]).echo_request(1, 2, b"yy");
        let at = Duration::new(1_700_000_000, 123_456_789);
        [v4, v6].map(|packet| Captured { at, packet }).to_vec()
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut file = header();
        for Captured { at, packet } in packets() {
            file.extend(record(at, &packet));
        }
        assert_eq!(read(&file), Ok(packets()));
        for cut in 25..file.len() {
            match read(&file[..cut]) {
                Ok(some) => assert_eq!(some.len(), 1, "only between two packets"),
                Err(error) => assert!(matches!(error, PcapError::Cut(1 | 2)), "{cut}: {error}"),
            }
        }
    }

    #[test]
    fn reads_ethernet_in_the_other_byte_order() {
        let mut file = Vec::new();
        for word in [MAGIC_MICROS, 0x0002_0004, 0, 0, 65_535, LINKTYPE_ETHERNET] {
            file.extend_from_slice(&word.to_be_bytes());
        }
        let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(1, 2, b"x");
        let addresses = [2u8; 12];
        let arp = [&addresses[..], &[8, 6, 0, 0]].concat();
        let tagged = [&addresses[..], &[0x81, 0, 0, 7, 8, 0], &v4].concat();
        for frame in [&arp, &tagged] {
            for word in [5, 6, frame.len() as u32, frame.len() as u32] {
                file.extend_from_slice(&word.to_be_bytes());
            }
            file.extend_from_slice(frame);
        }
        let at = Duration::new(5, 6000);
        assert_eq!(read(&file), Ok(vec![Captured { at, packet: v4 }]));
    }

    #[test]
    fn refuses_other_files() {
        assert_eq!(read(&[]), Err(PcapError::Header));
        assert_eq!(read(&[10, 13, 13, 10, 0]), Err(PcapError::Magic(0x0a0d_0d0a)));
        assert_eq!(read(&header()[..20]), Err(PcapError::Header));
        let mut wifi = header();
        wifi[20] = 105;
        assert_eq!(read(&wifi), Err(PcapError::LinkType(105)));
        let mut huge = header();
        huge.extend_from_slice(&[0xff; 16]);
        assert_eq!(read(&huge), Err(PcapError::Cut(1)));
    }
}
