//! A packet as ports give and take it.

use fielato_wire::gso::{GsoError, Segments};
use fielato_wire::{Offload, checksum};

/// A packet, or a superpacket that stands for several: it is judged whole, and cut on the way out where that is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buffer {
    /// The bytes, from the IP header, or from the Ethernet header on a port of that kind.
    pub data: Vec<u8>,
    /// What is left to do with it. Its offsets count from the first byte of `data`.
    pub offload: Offload,
}

impl From<Vec<u8>> for Buffer {
    fn from(data: Vec<u8>) -> Buffer {
        Buffer {
            data,
            offload: Offload::default(),
        }
    }
}

impl Buffer {
    /// Payload bytes of each segment of a superpacket; 0 for a plain packet.
    pub fn segment_size(&self) -> u16 {
        self.offload.segmentation.map_or(0, |segmentation| segmentation.size)
    }

    /// Length of the longest packet that a superpacket is cut into; 0 for a plain packet.
    ///
    /// # Errors
    /// The bytes are not what the offload says.
    pub(crate) fn longest_segment(&self) -> Result<u16, GsoError> {
        if self.offload.segmentation.is_none() {
            return Ok(0);
        }
        let longest = Segments::new(&self.data, &self.offload)?.max_len();
        Ok(u16::try_from(longest).unwrap_or(u16::MAX))
    }

    /// The packets that this one stands for, with whole checksums; nothing when the bytes are not what the offload says.
    pub fn split(self, each: &mut dyn FnMut(Buffer)) {
        let Buffer { data, offload } = &self;
        if *offload == Offload::default() {
            return each(self);
        }
        let Ok(mut segments) = Segments::new(data, offload) else {
            return;
        };
        let mut out = vec![0; segments.max_len()];
        while let Some(len) = segments.write_next(&mut out) {
            let segment = out.get(..len).unwrap_or(&[]).to_vec();
            each(Buffer {
                data: segment,
                offload: Offload {
                    data_valid: offload.data_valid,
                    ..Offload::default()
                },
            });
        }
    }

    /// Completes the transport checksum of a plain packet, if that was left to the device (`skb_checksum_help`).
    pub(crate) fn complete_checksum(&mut self) {
        if self.offload.segmentation.is_none()
            && let Some((start, offset)) = self.offload.needs_csum.take()
        {
            let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
            let sum = match !checksum::fold(checksum::sum(self.data.get(start..).unwrap_or(&[]))) {
                0 => 0xffff,
                sum => sum,
            };
            if let Some(place) = self.data.get_mut(at..at + 2) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::build::{Ip, Tcp};
    use fielato_wire::{Headers, Segmentation, SegmentationKind};

    use super::*;

    #[test]
    fn a_superpacket_is_cut_into_whole_packets() {
        let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
        let data = ip.tcp(&Tcp {
            payload: vec![7; 2500],
            ..Tcp::new(1, 2)
        });
        let buffer = Buffer {
            data,
            offload: Offload {
                needs_csum: Some((20, 16)),
                data_valid: true,
                segmentation: Some(Segmentation {
                    kind: SegmentationKind::Tcp4,
                    ecn: false,
                    size: 1000,
                    header_len: 40,
                }),
            },
        };
        assert_eq!(buffer.longest_segment(), Ok(1040));
        let mut lengths = Vec::new();
        buffer.split(&mut |segment| {
            let headers = Headers::receive(&segment.data).unwrap();
            let transport = headers.transport(&segment.data);
            assert_eq!(checksum::transport(headers.src, headers.dst, headers.protocol, transport), 0);
            assert_eq!(segment.segment_size(), 0);
            lengths.push(segment.data.len());
        });
        assert_eq!(lengths, [1040, 1040, 540]);
    }
}
