//! The fragments of one datagram (`inet_frag_queue`).

use super::{BUFFER_COST, Pieces, fragment_header, joined_ecn, seal_v4};
use crate::Packet;

/// Fragments of one datagram, in order.
#[derive(Debug)]
pub(super) struct Queue {
    /// Its place among the deadlines.
    pub place: (u64, u64),
    /// Its source's count of fragments when the last came.
    pub last_seen: u32,
    pieces: Vec<Piece>,
    /// Stretches without a gap that came in order, first and end. The kernel keeps these, and by them tells a duplicate
    /// from an overlap.
    runs: Vec<(u32, u32)>,
    /// The datagram's payload length, as far as it is known.
    len: u32,
    last_in: bool,
    /// Payload bytes here.
    held: u32,
    /// ECN codepoints seen, a bit each.
    ecn: u8,
    /// Largest fragment, with headers.
    max_size: u16,
    /// Largest fragment with DF.
    max_df_size: u16,
    /// Interface of the last that came.
    interface: crate::Interface,
}

/// A fragment. Its bytes are the packet's from `data_at`, as many as from `start` to `end`.
#[derive(Debug)]
struct Piece {
    start: u32,
    end: u32,
    data_at: usize,
    packet: Packet,
}

impl Piece {
    fn payload(&self) -> &[u8] {
        let end = self.data_at + (self.end - self.start) as usize;
        self.packet.data.get(self.data_at..end).unwrap_or(&[])
    }

    fn cost(&self) -> usize {
        self.packet.data.len() + BUFFER_COST
    }
}

/// What became of a fragment.
pub(super) enum Insert {
    /// It is there already.
    Duplicate,
    /// It covers a part of another.
    Overlap,
    /// It is in.
    Taken {
        /// Bytes it costs.
        cost: usize,
        /// Nothing is missing any more.
        complete: bool,
    },
}

impl Queue {
    pub fn new(place: (u64, u64)) -> Queue {
        Queue {
            place,
            last_seen: 0,
            pieces: Vec::new(),
            runs: Vec::new(),
            len: 0,
            last_in: false,
            held: 0,
            ecn: 0,
            max_size: 0,
            max_df_size: 0,
            interface: crate::Interface::NONE,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that the fragments cost.
    pub fn cost(&self) -> usize {
        self.pieces.iter().map(Piece::cost).sum()
    }

    /// Takes note of a fragment's end; false when it contradicts what is known.
    pub fn note_end(&mut self, end: u32, more: bool) -> bool {
        if !more {
            if end < self.len || self.last_in && end != self.len {
                return false;
            }
            self.last_in = true;
            self.len = end;
        } else if end > self.len {
            if self.last_in {
                return false;
            }
            self.len = end;
        }
        true
    }

    /// Puts a fragment in its place (`inet_frag_queue_insert`).
    pub fn insert(&mut self, start: u32, end: u32, data_at: usize, packet: Packet) -> Insert {
        let at = self.runs.partition_point(|run| run.1 <= start);
        match self.runs.get_mut(at) {
            Some(&mut (first, last)) if first < end => {
                // In or across a run. One that reaches beyond the last run only overlaps.
                return if first <= start && end <= last {
                    Insert::Duplicate
                } else {
                    Insert::Overlap
                };
            }
            Some(_) => self.runs.insert(at, (start, end)),
            None => match self.runs.last_mut() {
                // Only the last run grows: that is how fragments that come in order are kept.
                Some(run) if run.1 == start => run.1 = end,
                _ => self.runs.push((start, end)),
            },
        }
        // IPv6's counts the fragment header too.
        let size = (data_at as u32 + (end - start)).min(u32::from(u16::MAX)) as u16;
        self.max_size = self.max_size.max(size);
        if packet.headers.dont_fragment {
            self.max_df_size = self.max_df_size.max(size);
        }
        self.ecn |= 1 << (packet.headers.tos & 3);
        self.held += end - start;
        self.interface = packet.in_interface;
        let piece = Piece {
            start,
            end,
            data_at,
            packet,
        };
        let cost = piece.cost();
        let place = self.pieces.partition_point(|other| other.start < start);
        self.pieces.insert(place, piece);
        let first_in = self.pieces.first().is_some_and(|first| first.start == 0);
        Insert::Taken {
            cost,
            complete: first_in && self.last_in && self.held == self.len,
        }
    }

    /// The IPv4 datagram (`ip_frag_reasm`).
    pub fn whole_v4(self) -> Option<Packet> {
        let ecn = joined_ecn(self.ecn)?;
        let header_len = self.pieces.first()?.data_at;
        let len = u16::try_from(header_len + self.len as usize).ok()?;
        let keep_df = self.max_df_size == self.max_size;
        let id = |packet: &Packet| u32::from(u16::from_be_bytes([packet.data[4], packet.data[5]]));
        let mut packet = self.join(id)?;
        packet.data[1] |= ecn;
        packet.data[2..4].copy_from_slice(&len.to_be_bytes());
        // DF says that the sender looks for the path's MTU: it is only kept when the largest fragment had it.
        packet.data[6..8].copy_from_slice(if keep_df { &[0x40, 0] } else { &[0, 0] });
        seal_v4(&mut packet.data, header_len);
        packet.reparse().ok()?;
        Some(packet)
    }

    /// The IPv6 datagram, without its fragment header (`nf_ct_frag6_reasm`).
    pub fn whole_v6(self) -> Option<Packet> {
        let ecn = joined_ecn(self.ecn)?;
        let (announced_at, at) = fragment_header(&self.pieces.first()?.packet.data)?;
        let payload_len = u16::try_from(at - 40 + self.len as usize).ok()?;
        let id = |packet: &Packet| {
            let id = packet.data.get(at + 4..at + 8).and_then(<[u8]>::first_chunk);
            id.map_or(0, |id| u32::from_be_bytes(*id))
        };
        let mut packet = self.join(id)?;
        let next = *packet.data.get(at)?;
        packet.data.drain(at..at + 8);
        *packet.data.get_mut(announced_at)? = next;
        packet.data[1] |= ecn << 4;
        packet.data[4..6].copy_from_slice(&payload_len.to_be_bytes());
        packet.reparse().ok()?;
        Some(packet)
    }

    /// The first fragment's packet, with all payloads behind its headers.
    fn join(mut self, id: impl Fn(&Packet) -> u32) -> Option<Packet> {
        let mut rest = self.pieces.split_off(1);
        let first = self.pieces.pop()?;
        let kept = first.data_at + first.payload().len();
        let mut sizes = Vec::with_capacity(rest.len() + 1);
        sizes.push((first.end - first.start) as u16);
        let mut packet = first.packet;
        packet.data.truncate(kept);
        packet.data.reserve(rest.iter().map(|piece| piece.payload().len()).sum());
        for piece in rest.drain(..) {
            sizes.push((piece.end - piece.start) as u16);
            packet.data.extend_from_slice(piece.payload());
        }
        packet.in_interface = self.interface;
        packet.largest_fragment = self.max_size;
        let id = id(&packet);
        packet.pieces = Some(Box::new(Pieces { sizes, id }));
        Some(packet)
    }
}
