//! Ethernet frames (IEEE 802.3): 14 bytes before each packet.

use std::net::IpAddr;

use fielato_wire::Offload;

use crate::Buffer;

/// A station's address.
pub(crate) type Mac = [u8; 6];

/// Length of the header.
pub(crate) const HEADER: usize = 14;

/// Everybody.
pub(super) const BROADCAST: Mac = [0xff; 6];

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtherType {
    Ipv4,
    Ipv6,
    Arp,
}

impl EtherType {
    const fn number(self) -> u16 {
        match self {
            EtherType::Ipv4 => 0x0800,
            EtherType::Arp => 0x0806,
            EtherType::Ipv6 => 0x86dd,
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) kind: EtherType,
}

/// Whether the address is a group's.
pub(crate) const fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// The group that a multicast or broadcast address stands for on the link (RFC 1112 §6.4, RFC 2464 §7); none for a host's.
pub(super) fn group_of(address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some(BROADCAST),
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some([0x33, 0x33, a, b, c, d])
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

impl Frame {
    /// Reads a frame's header; none when it is cut short or carries what nobody here reads.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Frame> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let kind = match u16::from_be_bytes([header[12], header[13]]) {
            0x0800 => EtherType::Ipv4,
            0x0806 => EtherType::Arp,
            0x86dd => EtherType::Ipv6,
            _ => return None,
        };
        Some(Frame {
            destination: *header.first_chunk()?,
            source: *header.get(6..)?.first_chunk()?,
            kind,
        })
    }

    /// The frame of what `buffer` holds.
    pub(crate) fn wrap(&self, buffer: Buffer) -> Buffer {
        let Buffer { mut data, offload } = buffer;
        let number = self.kind.number().to_be_bytes();
        let header = [&self.destination[..], &self.source, &number].concat();
        data.splice(..0, header);
        Buffer {
            data,
            offload: shifted(offload, HEADER as i32),
        }
    }

    /// What a frame carries.
    pub(crate) fn unwrap(buffer: Buffer) -> Buffer {
        let Buffer { mut data, offload } = buffer;
        data.drain(..HEADER.min(data.len()));
        Buffer {
            data,
            offload: shifted(offload, -(HEADER as i32)),
        }
    }
}

/// The offsets of an offload count from the first byte.
fn shifted(offload: Offload, by: i32) -> Offload {
    let shift = |offset: u16| u16::try_from(i32::from(offset).saturating_add(by)).unwrap_or(0);
    Offload {
        needs_csum: offload.needs_csum.map(|(start, offset)| (shift(start), offset)),
        segmentation: offload.segmentation.map(|segmentation| fielato_wire::Segmentation {
            header_len: shift(segmentation.header_len),
            ..segmentation
        }),
        ..offload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        for kind in [EtherType::Ipv4, EtherType::Ipv6, EtherType::Arp] {
            let frame = Frame {
                destination: [1, 2, 3, 4, 5, 6],
                source: [7, 8, 9, 10, 11, 12],
                kind,
            };
            let buffer = Buffer {
                data: vec![1, 2, 3],
                offload: Offload {
                    needs_csum: Some((20, 16)),
                    ..Offload::default()
                },
            };
            let wrapped = frame.wrap(buffer.clone());
            assert_eq!((wrapped.data.len(), wrapped.offload.needs_csum), (17, Some((34, 16))));
            assert_eq!(Frame::parse(&wrapped.data), Some(frame));
            assert_eq!(Frame::unwrap(wrapped), buffer);
        }
        assert_eq!(Frame::parse(&[0; 13]), None);
        assert_eq!(Frame::parse(&[0; 60]), None);
    }

    #[test]
    fn groups_have_addresses_of_their_own() {
        for (address, mac) in [
            ("255.255.255.255", Some(BROADCAST)),
            ("239.129.2.3", Some([0x01, 0x00, 0x5e, 0x01, 0x02, 0x03])),
            ("ff02::1:ff00:7", Some([0x33, 0x33, 0xff, 0x00, 0x00, 0x07])),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(group_of(address.parse().unwrap()), mac, "{address}");
        }
    }
}
