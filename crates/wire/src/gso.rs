//! A packet as a TUN interface gives it, made into packets for the wire: superpackets are cut, checksums completed.
//!
//! Each payload byte is read once: it is copied and summed in the same pass. What the segments' headers say is what the kernel's
//! own segmentation would make them say (net/ipv4/tcp_offload.c, net/ipv4/udp_offload.c, net/ipv4/af_inet.c,
//! net/ipv6/ip6_offload.c).

use crate::field::{get16, put16};
use crate::offload::{Offload, Segmentation, SegmentationKind};
use crate::{TcpFlags, checksum, number};

/// Why a packet can't be made into packets for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GsoError {
    /// The packet ends before its headers do, or before its own length.
    #[error("the packet of {len} bytes ends within its headers, or before the length they give")]
    Truncated {
        /// Length of the packet.
        len: usize,
    },
    /// The packet's version or protocol is not the one that the offload names.
    #[error("the packet is not what its offload says: {kind:?}")]
    Kind {
        /// What the offload says.
        kind: SegmentationKind,
    },
    /// A fragment, or a header behind which no transport header can be found.
    #[error("no superpacket can be a fragment or have the next header {0}")]
    NextHeader(u8),
    /// A segment size of zero.
    #[error("the offload gives a segment size of zero")]
    Size,
    /// The place of the checksum is not the one where the transport has it.
    #[error("the offload has the checksum at {start} + {offset}, the packet elsewhere")]
    Checksum {
        /// Where the transport header should begin.
        start: u16,
        /// Where in it the checksum should stand.
        offset: u16,
    },
}

/// The packets for the wire that a packet from the TUN interface stands for.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    work: Work,
    /// Number of segments, and of the next one.
    count: usize,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// One packet as it is.
    Copy,
    /// One packet, its checksum completed.
    Complete { start: usize, offset: usize },
    /// A superpacket.
    Cut(Cut),
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    v6: bool,
    tcp: bool,
    /// Offset of the transport header, and of the payload behind it.
    l4: usize,
    payload: usize,
    size: usize,
    /// Sum of the IPv4 header without its length, identification and checksum; 0 for IPv6.
    network_sum: u64,
    /// Sum of the transport header without its checksum, of the addresses and of the protocol.
    transport_sum: u64,
}

impl<'a> Segments<'a> {
    /// Checks the packet once, so that nothing can go wrong while it is cut. Bytes behind the IP packet's own length are ignored.
    ///
    /// # Errors
    /// [`GsoError`]; a packet that needs nothing is always right.
    pub fn new(packet: &'a [u8], offload: &Offload) -> Result<Self, GsoError> {
        let Offload {
            needs_csum,
            data_valid: _,
            segmentation,
        } = *offload;
        let (packet, work, count) = match (segmentation, needs_csum) {
            (None, None) => (packet, Work::Copy, 1),
            (None, Some((start, offset))) => {
                let (start, offset) = (usize::from(start), usize::from(offset));
                if start + offset + 2 > packet.len() {
                    return Err(GsoError::Truncated { len: packet.len() });
                }
                (packet, Work::Complete { start, offset }, 1)
            }
            (Some(segmentation), _) => {
                let (cut, len) = Cut::new(packet, &segmentation)?;
                if let Some((start, offset)) = needs_csum
                    && (usize::from(start), usize::from(offset)) != (cut.l4, cut.checksum_offset())
                {
                    return Err(GsoError::Checksum { start, offset });
                }
                // A superpacket without payload is one packet; the kernel makes none.
                let count = (len - cut.payload).div_ceil(cut.size).max(1);
                (&packet[..len], Work::Cut(cut), count)
            }
        };
        Ok(Self {
            packet,
            work,
            count,
            next: 0,
        })
    }

    /// How many packets there are, written ones included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of the longest packet, which is the first one.
    pub fn max_len(&self) -> usize {
        match self.work {
            Work::Copy | Work::Complete { .. } => self.packet.len(),
            Work::Cut(cut) => self.packet.len().min(cut.payload + cut.size),
        }
    }

    /// Writes the next packet to the beginning of `out` and returns its length. `None` when all are written, or `out` is shorter
    /// than the packet ([`Segments::max_len`]).
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.next >= self.count {
            return None;
        }
        let len = match self.work {
            Work::Copy => {
                out.get_mut(..self.packet.len())?.copy_from_slice(self.packet);
                self.packet.len()
            }
            Work::Complete { start, offset } => complete(self.packet, start, offset, out)?,
            Work::Cut(cut) => cut.write(self.packet, self.next, self.next + 1 == self.count, out)?,
        };
        self.next += 1;
        Some(len)
    }
}

/// As `skb_checksum_help` (net/core/dev.c), which also writes 0xffff for a sum of zero, whatever the protocol.
fn complete(packet: &[u8], start: usize, offset: usize, out: &mut [u8]) -> Option<usize> {
    let out = out.get_mut(..packet.len())?;
    let (head, tail) = packet.split_at_checked(start)?;
    let (out_head, out_tail) = out.split_at_mut_checked(start)?;
    out_head.copy_from_slice(head);
    let check = match !checksum::fold(checksum::copy_and_sum(out_tail, tail)) {
        0 => 0xffff,
        check => check,
    };
    put16(out_tail, offset, check);
    Some(packet.len())
}

impl Cut {
    /// How the packet is cut, and where it ends.
    fn new(packet: &[u8], segmentation: &Segmentation) -> Result<(Self, usize), GsoError> {
        let Segmentation {
            kind,
            ecn: _,
            size,
            header_len: _,
        } = *segmentation;
        let truncated = GsoError::Truncated { len: packet.len() };
        let (v6, tcp) = match (kind, packet.first().map(|byte| byte >> 4)) {
            (SegmentationKind::Tcp4, Some(4)) => (false, true),
            (SegmentationKind::Tcp6, Some(6)) => (true, true),
            (SegmentationKind::Udp, Some(4)) => (false, false),
            (SegmentationKind::Udp, Some(6)) => (true, false),
            (_, None) => return Err(truncated),
            _ => return Err(GsoError::Kind { kind }),
        };
        if size == 0 {
            return Err(GsoError::Size);
        }
        let (l4, len, protocol) = if v6 { network_v6(packet)? } else { network_v4(packet)? };
        let wanted = if tcp { number::TCP } else { number::UDP };
        if protocol != wanted {
            return Err(GsoError::Kind { kind });
        }
        let transport = packet.get(l4..len).ok_or(truncated)?;
        let header_len = match transport {
            // The kernel's hint covers what is in the first of the buffer's pieces, so the real length is in the header.
            [_, _, _, _, _, _, _, _, _, _, _, _, offset, ..] if tcp => usize::from(offset >> 4) * 4,
            _ if tcp => return Err(truncated),
            _ => 8,
        };
        if header_len < if tcp { 20 } else { 8 } || header_len > transport.len() {
            return Err(truncated);
        }
        let addresses = if v6 { packet.get(8..40) } else { packet.get(12..20) };
        // One's complement: to take a word out of a sum, its complement is added (RFC 1624).
        let without = |header: &[u8], at| u64::from(!get16(header, at));
        let network = packet.get(..l4).ok_or(truncated)?;
        let network_sum = match v6 {
            true => 0,
            false => checksum::sum(network) + without(network, 2) + without(network, 4) + without(network, 10),
        };
        let header = transport.get(..header_len).ok_or(truncated)?;
        let check_at = if tcp { 16 } else { 6 };
        let pseudo = checksum::sum(addresses.ok_or(truncated)?) + u64::from(wanted);
        let transport_sum = checksum::sum(header) + without(header, check_at) + pseudo;
        let cut = Self {
            v6,
            tcp,
            l4,
            payload: l4 + header_len,
            size: size.into(),
            network_sum,
            transport_sum,
        };
        Ok((cut, len))
    }

    const fn checksum_offset(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    /// Writes segment number `index`. All offsets were checked by [`Cut::new`].
    #[inline]
    fn write(&self, packet: &[u8], index: usize, last: bool, out: &mut [u8]) -> Option<usize> {
        let from = self.payload + index * self.size;
        let payload = packet.get(from..packet.len().min(from + self.size))?;
        let out = out.get_mut(..self.payload + payload.len())?;
        let len = out.len();
        let (header, body) = out.split_at_mut_checked(self.payload)?;
        header.copy_from_slice(packet.get(..self.payload)?);
        let sum = checksum::copy_and_sum(body, payload);

        let (network, transport) = header.split_at_mut_checked(self.l4)?;
        if self.v6 {
            put16(network, 4, (len - 40) as u16);
        } else {
            put16(network, 2, len as u16);
            let id = get16(network, 4).wrapping_add(index as u16);
            put16(network, 4, id);
            let sum = self.network_sum + len as u64 + u64::from(id);
            put16(network, 10, !checksum::fold(sum));
        }
        let transport_len = len - self.l4;
        let mut sum = sum + self.transport_sum + transport_len as u64;
        if self.tcp {
            let sequence = transport.get_mut(4..8)?.first_chunk_mut::<4>()?;
            let offset = (index * self.size) as u32;
            let before = u32::from_be_bytes(*sequence);
            let now = before.wrapping_add(offset);
            *sequence = now.to_be_bytes();
            sum += u64::from(!before) + u64::from(now);
            let flags = transport.get_mut(13)?;
            sum += u64::from(!u16::from(*flags));
            if !last {
                *flags &= !(TcpFlags::FIN | TcpFlags::PSH);
            }
            if index != 0 {
                *flags &= !TcpFlags::CWR;
            }
            sum += u64::from(*flags);
        } else {
            sum += u64::from(!get16(transport, 4)) + transport_len as u64;
            put16(transport, 4, transport_len as u16);
        }
        let check = match !checksum::fold(sum) {
            // RFC 768: zero would mean that there is none.
            0 if !self.tcp => 0xffff,
            check => check,
        };
        put16(transport, self.checksum_offset(), check);
        Some(len)
    }
}

/// Length of the header, of the packet, and the protocol.
fn network_v4(packet: &[u8]) -> Result<(usize, usize, u8), GsoError> {
    let truncated = GsoError::Truncated { len: packet.len() };
    let fixed = packet.first_chunk::<20>().ok_or(truncated)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let len = usize::from(get16(fixed, 2));
    if header_len < 20 || header_len > len || len > packet.len() {
        return Err(truncated);
    }
    // More fragments, or an offset.
    if get16(fixed, 6) & 0x3fff != 0 {
        return Err(GsoError::NextHeader(fixed[9]));
    }
    Ok((header_len, len, fixed[9]))
}

/// Offset of the transport header behind the extension headers, length of the packet, and the protocol.
fn network_v6(packet: &[u8]) -> Result<(usize, usize, u8), GsoError> {
    let truncated = GsoError::Truncated { len: packet.len() };
    let fixed = packet.first_chunk::<40>().ok_or(truncated)?;
    let len = usize::from(get16(fixed, 4)) + 40;
    if len > packet.len() || len > usize::from(u16::MAX) {
        return Err(truncated);
    }
    let (mut at, mut next) = (40, fixed[6]);
    loop {
        match next {
            number::TCP | number::UDP => return Ok((at, len, next)),
            // The headers that `ipv6_gso_pull_exthdrs` skips; all of them have their length in units of 8 bytes.
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => {}
            other => return Err(GsoError::NextHeader(other)),
        }
        let header = packet.get(at..len).and_then(<[u8]>::first_chunk::<2>).ok_or(truncated)?;
        next = header[0];
        at += (usize::from(header[1]) + 1) * 8;
    }
}
