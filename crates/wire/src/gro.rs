//! Packets that came from the wire, made into superpackets for a TUN interface without a copy of their payload.
//!
//! The packets stand somewhere in one buffer. A superpacket is the first packet, whose headers are corrected in place, and the
//! pieces of the buffer that are the payloads of those after it. The rules are the kernel's (net/ipv4/tcp_offload.c,
//! net/ipv4/udp_offload.c, `inet_gro_receive`, `ipv6_gro_receive`), so that cutting a superpacket again gives the packets that went
//! in. Three things are our own:
//!
//! - Transport checksums are not verified: whoever authenticated the packets vouches for them.
//! - Identifications of IPv4 packets with DF set may all be the same, as in the kernel, but they count up when the superpacket is
//!   cut again: `virtio_net_hdr` can't say it, and they mean nothing (RFC 6864 §4.1).
//! - IPv6 packets with extension headers stand alone.

use std::ops::Range;

use crate::field::{get16, put16};
use crate::offload::{Offload, Segmentation, SegmentationKind};
use crate::{Addr, Malformed, TcpFlags, checksum, number};

/// The longest superpacket: IPv4's total length is 16 bits wide.
const LEN_MAX: usize = u16::MAX as usize;

/// Flows that can be open at once: sets, and flows whose hash leads to the same set.
const SETS: usize = 16;
const WAYS: usize = 4;

/// Joins packets of the same flow. Made once and used for batch after batch: it allocates only while batches still grow.
#[derive(Debug)]
pub struct Coalescer {
    segments_max: usize,
    udp: bool,
    /// The items of this batch are the first `len`; those behind keep their memory for later batches.
    items: Vec<Open>,
    len: usize,
    /// Where open items stand, counted from 1; 0 is none.
    table: [[u32; WAYS]; SETS],
    /// The place in a full set that goes next.
    victim: usize,
}

/// What is written to the TUN interface at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What to say before it.
    pub offload: Offload,
    /// Places in the buffer, in order: the first packet with its headers, then payloads.
    pub parts: &'a [Range<usize>],
}

/// An item that is being made.
#[derive(Debug)]
struct Open {
    offload: Offload,
    parts: Vec<Range<usize>>,
    packet: Packet,
    /// Length of all parts.
    len: usize,
    /// The IPv4 identification stays the same; known with the second packet.
    fixed_id: bool,
    /// FIN and PSH of the last packet.
    end_flags: u8,
}

/// What is known of a packet whose flow is known.
#[derive(Clone, Copy, Debug, Default)]
struct Packet {
    flow: Flow,
    /// Offset of the transport header, and of the payload.
    l4: usize,
    payload: usize,
    /// Length of the payload.
    size: usize,
    /// IPv4 identification.
    id: u16,
    sequence: u32,
    flags: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    v6: bool,
    tcp: bool,
    src: Addr,
    dst: Addr,
    ports: u32,
}

/// What a packet can do.
enum Class {
    /// It belongs to no flow that could be open.
    Alone,
    /// It may belong to any flow: none may overtake it.
    Barrier,
    /// It belongs to this flow and stands alone in it.
    Single(Flow),
    /// It can be joined with others.
    Joinable(Packet),
}

impl Coalescer {
    /// Joins up to `segments_max` packets; with 1 or less, none. Datagrams are joined when `udp`: only then does the kernel take
    /// `UDP_L4` (Linux 6.2 and later).
    pub fn new(segments_max: usize, udp: bool) -> Self {
        Self {
            segments_max,
            udp,
            items: Vec::new(),
            len: 0,
            table: [[0; WAYS]; SETS],
            victim: 0,
        }
    }

    /// Takes the next packet, in the order of arrival: `range` of `buffer`, whose bytes behind the packet's own length are
    /// padding. All packets of a batch stand in the same buffer.
    ///
    /// # Errors
    /// It is no whole IP packet, and was left out.
    pub fn push(&mut self, buffer: &[u8], range: Range<usize>) -> Result<(), Malformed> {
        let start = range.start;
        let packet = whole(buffer.get(range).ok_or(Malformed::Truncated)?)?;
        let range = start..start + packet.len();
        if self.segments_max <= 1 {
            self.add(range, Packet::default());
            return Ok(());
        }
        match classify(packet, self.udp) {
            Class::Alone => {
                self.add(range, Packet::default());
            }
            Class::Barrier => {
                self.table = [[0; WAYS]; SETS];
                self.add(range, Packet::default());
            }
            Class::Single(flow) => {
                let set = flow.set();
                if let Some((way, _)) = self.find(set, &flow) {
                    self.close(set, way);
                }
                self.add(range, Packet::default());
            }
            Class::Joinable(new) => self.join(buffer, range, &new),
        }
        Ok(())
    }

    fn join(&mut self, buffer: &[u8], range: Range<usize>, new: &Packet) {
        let set = new.flow.set();
        let ends = new.flags & (TcpFlags::FIN | TcpFlags::PSH) != 0;
        if let Some((way, index)) = self.find(set, &new.flow) {
            let segments_max = self.segments_max;
            if let Some(item) = self.items.get_mut(index)
                && item.parts.len() < segments_max
                && item.takes(buffer, &range, new)
            {
                item.parts.push(range.start + new.payload..range.end);
                item.len += new.size;
                item.end_flags = new.flags & (TcpFlags::FIN | TcpFlags::PSH);
                if ends || new.size < item.packet.size {
                    self.close(set, way);
                }
                return;
            }
            self.close(set, way);
        }
        let number = self.add(range, *new);
        if !ends {
            self.open(set, number);
        }
    }

    /// Ends the batch: completes headers in the buffer that the packets stand in, and gives the items in the order of their first
    /// packets. The next packet begins a new batch.
    pub fn finish<'a>(&'a mut self, buffer: &mut [u8]) -> impl ExactSizeIterator<Item = Item<'a>> + use<'a> {
        let len = std::mem::take(&mut self.len);
        self.table = [[0; WAYS]; SETS];
        let items = self.items.get_mut(..len).unwrap_or_default();
        for item in items.iter_mut().filter(|item| item.parts.len() > 1) {
            item.complete(buffer);
        }
        items.iter().map(|item| Item {
            offload: item.offload,
            parts: &item.parts,
        })
    }

    /// Where in the set the flow's open item stands, and its index.
    fn find(&self, set: usize, flow: &Flow) -> Option<(usize, usize)> {
        let ways = self.table.get(set)?;
        ways.iter().enumerate().find_map(|(way, &number)| {
            let index = (number as usize).checked_sub(1)?;
            (self.items.get(index)?.packet.flow == *flow).then_some((way, index))
        })
    }

    fn close(&mut self, set: usize, way: usize) {
        if let Some(place) = self.table.get_mut(set).and_then(|ways| ways.get_mut(way)) {
            *place = 0;
        }
    }

    /// Lets packets join the item. In a full set, another one is closed for it.
    fn open(&mut self, set: usize, number: u32) {
        let Some(ways) = self.table.get_mut(set) else {
            return;
        };
        let victim = self.victim % WAYS;
        if let Some(place) = ways.iter_mut().find(|place| **place == 0) {
            *place = number;
        } else if let Some(place) = ways.get_mut(victim) {
            *place = number;
            self.victim = victim + 1;
        }
    }

    /// A new item; returns its number, counted from 1.
    fn add(&mut self, range: Range<usize>, packet: Packet) -> u32 {
        if self.len == self.items.len() {
            self.items.push(Open {
                offload: Offload::VALID,
                parts: Vec::new(),
                packet,
                len: 0,
                fixed_id: false,
                end_flags: 0,
            });
        }
        if let Some(item) = self.items.get_mut(self.len) {
            item.offload = Offload::VALID;
            item.packet = packet;
            item.len = range.len();
            item.fixed_id = false;
            item.end_flags = 0;
            item.parts.clear();
            item.parts.push(range);
        }
        self.len += 1;
        u32::try_from(self.len).unwrap_or(0)
    }
}

impl Open {
    /// Whether the packet continues the item.
    #[inline]
    fn takes(&mut self, buffer: &[u8], range: &Range<usize>, new: &Packet) -> bool {
        let first = &self.packet;
        if new.size > first.size || self.len + new.size > LEN_MAX || (new.l4, new.payload) != (first.l4, first.payload) {
            return false;
        }
        let start = self.parts.first().map_or(0, |part| part.start);
        let header = |start: usize| buffer.get(start..start + new.payload)?.split_at_checked(new.l4);
        let (Some((one_network, one)), Some((network, other))) = (header(start), header(range.start)) else {
            return false;
        };
        let sequence = first.sequence.wrapping_add((self.len - first.payload) as u32);
        if new.flow.tcp && (new.sequence != sequence || !continues(first.flags, one, new.flags, other)) {
            return false;
        }
        let same = |part: Range<usize>| one_network.get(part.clone()) == network.get(part);
        if new.flow.v6 {
            // Traffic class and flow label, hop limit.
            return same(0..4) && same(7..8);
        }
        // Type of service, "don't fragment", time to live.
        same(0..2) && same(6..9) && self.numbers(new.id, network)
    }

    /// Whether the IPv4 identification is the next one. As in `inet_gro_flush` they count up, or all are the same when there is DF.
    #[inline]
    fn numbers(&mut self, id: u16, network: &[u8]) -> bool {
        let (step, count) = (id.wrapping_sub(self.packet.id), self.parts.len());
        let dont_fragment = network.get(6).is_some_and(|byte| byte & 0x40 != 0);
        if count == 1 && dont_fragment && step == 0 {
            self.fixed_id = true;
        }
        usize::from(step) == if self.fixed_id { 0 } else { count }
    }

    /// Makes the first packet's headers those of the superpacket.
    fn complete(&mut self, buffer: &mut [u8]) {
        let Packet {
            flow,
            l4,
            payload,
            size,
            flags,
            ..
        } = self.packet;
        let header = self
            .parts
            .first()
            .and_then(|part| buffer.get_mut(part.start..part.start + payload));
        let Some((network, transport)) = header.and_then(|header| header.split_at_mut_checked(l4)) else {
            return;
        };
        if flow.v6 {
            put16(network, 4, (self.len - 40) as u16);
        } else {
            put16(network, 2, self.len as u16);
            put16(network, 10, 0);
            let check = checksum::checksum(network);
            put16(network, 10, check);
        }
        let len = self.len - l4;
        let (kind, protocol, checksum_offset) = match (flow.tcp, flow.v6) {
            (true, false) => (SegmentationKind::Tcp4, number::TCP, 16),
            (true, true) => (SegmentationKind::Tcp6, number::TCP, 16),
            (false, _) => (SegmentationKind::Udp, number::UDP, 6),
        };
        if flow.tcp {
            if let Some(byte) = transport.get_mut(13) {
                *byte = flags | self.end_flags;
            }
        } else {
            put16(transport, 4, len as u16);
        }
        let pseudo = checksum::pseudo(flow.src, flow.dst, protocol, len as u32);
        put16(transport, checksum_offset, checksum::fold(pseudo));
        self.offload = Offload {
            needs_csum: Some((l4 as u16, checksum_offset as u16)),
            data_valid: false,
            segmentation: Some(Segmentation {
                kind,
                ecn: flags & TcpFlags::CWR != 0,
                size: size as u16,
                header_len: payload as u16,
            }),
        };
    }
}

impl Flow {
    /// The set of the table that the flow belongs to.
    fn set(&self) -> usize {
        // Multiplying carries every bit towards the top (Knuth, The Art of Computer Programming, 6.4).
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(ODD).rotate_left(29);
        let source = mix(mix(u64::from(self.ports), self.src.lo), self.src.hi);
        let hash = mix(mix(source, self.dst.lo), self.dst.hi).wrapping_mul(ODD);
        (hash >> 60) as usize % SETS
    }
}

/// Whether a TCP header says what the first one of its item says, in all that does not count up.
#[inline]
fn continues(first_flags: u8, first: &[u8], flags: u8, other: &[u8]) -> bool {
    // CWR stands on the first segment only: one that has it begins an item.
    let differ = (flags ^ first_flags) & !(TcpFlags::CWR | TcpFlags::FIN | TcpFlags::PSH);
    let same = |part: Range<usize>| first.get(part.clone()) == other.get(part);
    // Acknowledgement and data offset, the window, and what follows the checksum: urgent pointer and options.
    flags & TcpFlags::CWR == 0 && differ == 0 && same(8..13) && same(14..16) && first.get(18..) == other.get(18..)
}

/// The packet without the padding behind it.
#[inline]
fn whole(packet: &[u8]) -> Result<&[u8], Malformed> {
    let len = match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let fixed = packet.first_chunk::<20>().ok_or(Malformed::Truncated)?;
            let (len, header_len) = (usize::from(get16(fixed, 2)), usize::from(fixed[0] & 0x0f) * 4);
            if header_len < 20 {
                return Err(Malformed::HeaderLength);
            }
            if len < header_len {
                return Err(Malformed::TotalLength);
            }
            len
        }
        Some(6) => {
            let fixed = packet.first_chunk::<40>().ok_or(Malformed::Truncated)?;
            usize::from(get16(fixed, 4)) + 40
        }
        Some(_) => return Err(Malformed::Version),
        None => return Err(Malformed::Truncated),
    };
    packet.get(..len).ok_or(Malformed::TotalLength)
}

/// What can be done with a packet, which is whole.
#[inline]
fn classify(packet: &[u8], udp: bool) -> Class {
    let Some(network) = Network::of(packet) else {
        return Class::Alone;
    };
    let tcp = match network.protocol {
        number::TCP => true,
        // Nothing of the kind is ever open.
        number::UDP if !udp => return Class::Alone,
        number::UDP => false,
        // What is behind these may be a packet of any flow.
        number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::DESTINATION | number::AH if network.flow.v6 => {
            return Class::Barrier;
        }
        _ => return Class::Alone,
    };
    let transport = packet.get(network.l4..).unwrap_or_default();
    let Some(ports) = transport.first_chunk::<4>().filter(|_| network.plain) else {
        return Class::Barrier;
    };
    let flow = Flow {
        tcp,
        ports: u32::from_ne_bytes(*ports),
        ..network.flow
    };
    let found = if tcp { segment(transport) } else { datagram(transport) };
    match found {
        Some((header_len, sequence, flags)) if network.sound => Class::Joinable(Packet {
            flow,
            l4: network.l4,
            payload: network.l4 + header_len,
            size: transport.len() - header_len,
            id: network.id,
            sequence,
            flags,
        }),
        _ => Class::Single(flow),
    }
}

/// What the network header says.
struct Network {
    /// Without ports and protocol.
    flow: Flow,
    protocol: u8,
    l4: usize,
    id: u16,
    /// Neither options nor a fragment: the transport header follows.
    plain: bool,
    /// The header's checksum is right.
    sound: bool,
}

impl Network {
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        if packet.first()? >> 4 == 6 {
            let fixed = packet.first_chunk::<40>()?;
            return Some(Self {
                flow: Flow {
                    v6: true,
                    src: Addr::read(fixed.get(8..24)?),
                    dst: Addr::read(fixed.get(24..40)?),
                    ..Flow::default()
                },
                protocol: fixed[6],
                l4: 40,
                id: 0,
                plain: true,
                sound: true,
            });
        }
        let fixed = packet.first_chunk::<20>()?;
        Some(Self {
            flow: Flow {
                src: Addr::read(fixed.get(12..16)?),
                dst: Addr::read(fixed.get(16..20)?),
                ..Flow::default()
            },
            protocol: fixed[9],
            l4: 20,
            id: get16(fixed, 4),
            // More fragments, or an offset.
            plain: fixed[0] == 0x45 && get16(fixed, 6) & 0x3fff == 0,
            sound: checksum::checksum(fixed) == 0,
        })
    }
}

/// Length of the header, sequence number and flags of a TCP segment that can be joined: data, and no flag that wants to be seen alone.
#[inline]
fn segment(transport: &[u8]) -> Option<(usize, u32, u8)> {
    const ALONE: u8 = TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG;
    let fixed = transport.first_chunk::<20>()?;
    let header_len = usize::from(fixed[12] >> 4) * 4;
    let flags = fixed[13];
    if header_len < 20 || header_len >= transport.len() || flags & (ALONE | TcpFlags::ACK) != TcpFlags::ACK {
        return None;
    }
    let sequence = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    Some((header_len, sequence, flags))
}

/// The same of a datagram: data, a length that is the packet's, and a checksum.
#[inline]
fn datagram(transport: &[u8]) -> Option<(usize, u32, u8)> {
    let fixed = transport.first_chunk::<8>()?;
    let len = usize::from(get16(fixed, 4));
    (len > 8 && len == transport.len() && get16(fixed, 6) != 0).then_some((8, 0, 0))
}
