//! Fragments from members, until their datagram is whole.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fielato_wire::build::reassemble;
use fielato_wire::{Family, Headers, number};

use super::counters::{Counters, DropReason};

/// How long a datagram may take, as `net.ipv4.ipfrag_time`.
const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams that wait for the rest, and bytes of them. When there are more, the oldest is given up.
const DATAGRAMS: usize = 64;
const BYTES: usize = 2 << 20;

/// Fragments of one datagram: more would be shorter than any link makes them.
const PIECES: usize = 64;

/// Datagrams that are not whole.
#[derive(Default)]
pub(super) struct Fragments {
    waiting: HashMap<Key, Waiting>,
    bytes: usize,
}

/// RFC 791 §3.2, RFC 8200 §4.5; the first fragment alone says the protocol of an IPv6 datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

struct Waiting {
    since: Instant,
    pieces: Vec<(u16, Vec<u8>)>,
    /// Payload bytes there are, and in all once the last fragment is there.
    have: usize,
    total: Option<usize>,
    bytes: usize,
}

impl Fragments {
    /// Takes a fragment. The datagram, when it is whole.
    pub(super) fn push(&mut self, headers: &Headers, packet: Vec<u8>, counters: &Counters, now: Instant) -> Option<Vec<u8>> {
        let Some(key) = Key::of(headers, &packet) else {
            counters.dropped(DropReason::Malformed);
            return None;
        };
        let payload = headers.transport(&packet).len();
        // RFC 791 §3.2: all but the last are multiples of 8 bytes long.
        if payload == 0 || headers.more_fragments && !payload.is_multiple_of(8) {
            counters.dropped(DropReason::Malformed);
            return None;
        }
        if !self.waiting.contains_key(&key) && self.waiting.len() >= DATAGRAMS {
            self.give_up_oldest(counters);
        }
        let waiting = self.waiting.entry(key).or_insert_with(|| Waiting {
            since: now,
            pieces: Vec::new(),
            have: 0,
            total: None,
            bytes: 0,
        });
        // A second copy says nothing new.
        if waiting.pieces.iter().any(|(offset, _)| *offset == headers.fragment_offset) {
            return None;
        }
        waiting.have += payload;
        waiting.bytes += packet.len();
        self.bytes += packet.len();
        if !headers.more_fragments {
            waiting.total = Some(usize::from(headers.fragment_offset) + payload);
        }
        waiting.pieces.push((headers.fragment_offset, packet));
        let is_whole = waiting.total.is_some_and(|total| waiting.have >= total);
        if is_whole || waiting.pieces.len() >= PIECES {
            let waiting = self.remove(&key)?;
            let pieces: Vec<_> = waiting.pieces.into_iter().map(|(_, packet)| packet).collect();
            // Overlapping ones are given up whole (RFC 5722).
            let whole = reassemble(&pieces);
            if whole.is_none() {
                counters.dropped(DropReason::FragmentLost);
            }
            return whole;
        }
        while self.bytes > BYTES {
            self.give_up_oldest(counters);
        }
        None
    }

    /// Gives up what did not become whole in time.
    pub(super) fn expire(&mut self, counters: &Counters, now: Instant) {
        while let Some((key, since)) = self.oldest()
            && now >= since + PATIENCE
        {
            counters.dropped(DropReason::FragmentLost);
            self.remove(&key);
        }
    }

    /// When [`Fragments::expire`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.oldest().map(|(_, since)| since + PATIENCE)
    }

    fn oldest(&self) -> Option<(Key, Instant)> {
        self.waiting
            .iter()
            .map(|(key, waiting)| (*key, waiting.since))
            .min_by_key(|(_, since)| *since)
    }

    fn give_up_oldest(&mut self, counters: &Counters) {
        if let Some((key, _)) = self.oldest() {
            counters.dropped(DropReason::FragmentLimit);
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }
}

impl Key {
    fn of(headers: &Headers, packet: &[u8]) -> Option<Self> {
        let (id, protocol) = match headers.family {
            Family::V4 => (
                u32::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?)),
                headers.protocol,
            ),
            Family::V6 => (fragment_id(packet)?, 0),
        };
        Some(Self {
            src: headers.src.to_ip(headers.family),
            dst: headers.dst.to_ip(headers.family),
            id,
            protocol,
        })
    }
}

/// The identification in an IPv6 packet's fragment header.
fn fragment_id(packet: &[u8]) -> Option<u32> {
    let (mut at, mut kind) = (40, *packet.get(6)?);
    loop {
        let header = packet.get(at..)?.first_chunk::<8>()?;
        match kind {
            number::FRAGMENT => return Some(u32::from_be_bytes([header[4], header[5], header[6], header[7]])),
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => at += (usize::from(header[1]) + 1) * 8,
            _ => return None,
        }
        kind = header[0];
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::build::{Ip, fragments};

    use super::*;

    fn packet(v6: bool, id: u32, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        match v6 {
            false => Ip::v4([10, 8, 0, 2], [192, 0, 2, 1]).id(id),
            true => Ip::v6([0xfd; 16], [0x20; 16]),
        }
        .udp(5000, 53, &payload)
    }

    fn push(fragments: &mut Fragments, counters: &Counters, piece: &[u8], now: Instant) -> Option<Vec<u8>> {
        let headers = Headers::receive(piece).unwrap();
        fragments.push(&headers, piece.to_vec(), counters, now)
    }

    #[test]
    fn in_any_order_and_twice_it_becomes_whole() {
        let (mut waiting, counters, now) = (Fragments::default(), Counters::default(), Instant::now());
        for v6 in [false, true] {
            let whole = packet(v6, 7, 5000);
            let pieces = fragments(&whole, 1280, 9).unwrap();
            assert_eq!(pieces.len(), 5 - usize::from(!v6));
            let (last, rest) = pieces.split_last().unwrap();
            assert_eq!(push(&mut waiting, &counters, last, now), None);
            for piece in rest.iter().skip(1).rev() {
                assert_eq!(push(&mut waiting, &counters, piece, now), None);
                assert_eq!(push(&mut waiting, &counters, piece, now), None);
            }
            assert_eq!(push(&mut waiting, &counters, &rest[0], now), Some(whole));
        }
        assert_eq!((waiting.bytes, waiting.next()), (0, None));
        assert_eq!(counters.stats().drops.iter().map(|(_, count)| count).sum::<u64>(), 0);
    }

    #[test]
    fn what_stays_incomplete_is_given_up_and_counted() {
        let (mut waiting, counters, now) = (Fragments::default(), Counters::default(), Instant::now());
        for id in 0..DATAGRAMS as u32 + 3 {
            let pieces = fragments(&packet(false, id, 3000), 1280, 0).unwrap();
            assert_eq!(push(&mut waiting, &counters, &pieces[1], now), None);
        }
        assert_eq!(waiting.waiting.len(), DATAGRAMS);
        assert_eq!(counters.stats().dropped(DropReason::FragmentLimit), 3);
        waiting.expire(&counters, now + PATIENCE - Duration::from_millis(1));
        assert_eq!(waiting.waiting.len(), DATAGRAMS);
        assert_eq!(waiting.next(), Some(now + PATIENCE));
        waiting.expire(&counters, now + PATIENCE);
        assert_eq!((waiting.waiting.len(), waiting.bytes), (0, 0));
        assert_eq!(counters.stats().dropped(DropReason::FragmentLost), DATAGRAMS as u64);
    }

    #[test]
    fn overlapping_ones_are_given_up_whole() {
        let (mut waiting, counters, now) = (Fragments::default(), Counters::default(), Instant::now());
        let long = fragments(&packet(false, 1, 4000), 1400, 0).unwrap();
        let short = fragments(&packet(false, 1, 4000), 1280, 0).unwrap();
        for piece in [&long[0], &short[1], &long[1]] {
            assert_eq!(push(&mut waiting, &counters, piece, now), None);
        }
        assert_eq!(push(&mut waiting, &counters, long.last().unwrap(), now), None);
        assert_eq!((counters.stats().dropped(DropReason::FragmentLost), waiting.bytes), (1, 0));
    }
}
