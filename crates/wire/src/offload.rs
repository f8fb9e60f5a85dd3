//! What a TUN interface says before each packet: `struct virtio_net_hdr` (include/uapi/linux/virtio_net.h), the form of 10 bytes,
//! little-endian.

/// Length of the header.
pub const OFFLOAD_LEN: usize = 10;

// include/uapi/linux/virtio_net.h
const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What is left to do with a packet, or what need not be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum is to be completed: the one's complement sum of everything from `start` on is to be written, complemented,
    /// `offset` bytes behind `start`, where the pseudo header's sum stands now.
    pub needs_csum: Option<(u16, u16)>,
    /// The transport checksum need not be verified. Linux's TUN interfaces say so, but don't heed it when it is said to them
    /// (`virtio_net_hdr_to_skb`, include/linux/virtio_net.h).
    pub data_valid: bool,
    /// The packet is to be cut, or stands for several.
    pub segmentation: Option<Segmentation>,
}

/// How a superpacket is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The protocol.
    pub kind: SegmentationKind,
    /// The first segment has CWR set, and only that one keeps it.
    pub ecn: bool,
    /// Payload bytes of each segment but the last, which may have fewer.
    pub size: u16,
    /// Length of all headers. From the kernel it is a hint, and may be wrong or longer.
    pub header_len: u16,
}

/// What a superpacket is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP in IPv4.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP datagrams in either family (`UDP_L4`).
    Udp,
}

/// The header asks for a segmentation that has no name here; only those that were offered to the kernel come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TUN interface asks for segmentation of the unknown type {0}; make the interface without offloads")]
pub struct UnknownSegmentation(pub u8);

impl Offload {
    /// Nothing is left to do, and the checksums were vouched for by others.
    pub const VALID: Offload = Offload {
        needs_csum: None,
        data_valid: true,
        segmentation: None,
    };

    /// Reads the header.
    ///
    /// # Errors
    /// [`UnknownSegmentation`].
    pub const fn parse(bytes: &[u8; OFFLOAD_LEN]) -> Result<Offload, UnknownSegmentation> {
        let [
            flags,
            kind,
            header_low,
            header_high,
            size_low,
            size_high,
            start_low,
            start_high,
            offset_low,
            offset_high,
        ] = *bytes;
        let needs_csum = match flags & F_NEEDS_CSUM {
            0 => None,
            _ => Some((
                u16::from_le_bytes([start_low, start_high]),
                u16::from_le_bytes([offset_low, offset_high]),
            )),
        };
        let named = match kind & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some(SegmentationKind::Tcp4),
            GSO_TCPV6 => Some(SegmentationKind::Tcp6),
            GSO_UDP_L4 => Some(SegmentationKind::Udp),
            other => return Err(UnknownSegmentation(other)),
        };
        let segmentation = match named {
            None => None,
            Some(named) => Some(Segmentation {
                kind: named,
                ecn: kind & GSO_ECN != 0,
                size: u16::from_le_bytes([size_low, size_high]),
                header_len: u16::from_le_bytes([header_low, header_high]),
            }),
        };
        Ok(Offload {
            needs_csum,
            data_valid: flags & F_DATA_VALID != 0,
            segmentation,
        })
    }

    /// Writes the header.
    pub const fn emit(&self) -> [u8; OFFLOAD_LEN] {
        let Self {
            needs_csum,
            data_valid,
            segmentation,
        } = *self;
        let mut flags = if data_valid { F_DATA_VALID } else { 0 };
        let (start, offset) = match needs_csum {
            Some((start, offset)) => {
                flags |= F_NEEDS_CSUM;
                (start.to_le_bytes(), offset.to_le_bytes())
            }
            None => ([0; 2], [0; 2]),
        };
        let (kind, header, size) = match segmentation {
            None => (GSO_NONE, [0; 2], [0; 2]),
            Some(Segmentation {
                kind,
                ecn,
                size,
                header_len,
            }) => {
                let kind = match kind {
                    SegmentationKind::Tcp4 => GSO_TCPV4,
                    SegmentationKind::Tcp6 => GSO_TCPV6,
                    SegmentationKind::Udp => GSO_UDP_L4,
                };
                let ecn = if ecn { GSO_ECN } else { 0 };
                (kind | ecn, header_len.to_le_bytes(), size.to_le_bytes())
            }
        };
        [
            flags, kind, header[0], header[1], size[0], size[1], start[0], start[1], offset[0], offset[1],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_kernels_layout() {
        let segmentation = |kind, ecn| {
            Some(Segmentation {
                kind,
                ecn,
                size: 0x0102,
                header_len: 0x0304,
            })
        };
        let cases = [
            (Offload::default(), [0; 10]),
            (Offload::VALID, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (
                Offload {
                    needs_csum: Some((0x0506, 0x0708)),
                    ..Offload::default()
                },
                [1, 0, 0, 0, 0, 0, 6, 5, 8, 7],
            ),
            (
                Offload {
                    needs_csum: Some((20, 16)),
                    data_valid: false,
                    segmentation: segmentation(SegmentationKind::Tcp4, true),
                },
                [1, 0x81, 4, 3, 2, 1, 20, 0, 16, 0],
            ),
            (
                Offload {
                    needs_csum: Some((40, 16)),
                    data_valid: true,
                    segmentation: segmentation(SegmentationKind::Tcp6, false),
                },
                [3, 4, 4, 3, 2, 1, 40, 0, 16, 0],
            ),
            (
                Offload {
                    needs_csum: Some((40, 6)),
                    data_valid: false,
                    segmentation: segmentation(SegmentationKind::Udp, false),
                },
                [1, 5, 4, 3, 2, 1, 40, 0, 6, 0],
            ),
        ];
        for (offload, bytes) in cases {
            assert_eq!(offload.emit(), bytes);
            assert_eq!(Offload::parse(&bytes), Ok(offload));
        }
        // The old UDP fragmentation (3) is not offered to the kernel.
        assert_eq!(Offload::parse(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), Err(UnknownSegmentation(3)));
    }
}
