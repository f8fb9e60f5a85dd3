//! Losses on the way to a member, sooner.
//!
//! smoltcp 0.14 sends one segment again after three equal acknowledgements. When more were lost, or the last ones of a burst so
//! that nothing tells, it waits for its timer: a second at least. Two things help it, both told in the words it knows, the same
//! acknowledgement again and again:
//!
//! - An acknowledgement of a part of what was under way when a loss was seen is the sign that the next segment was lost, too
//!   (NewReno, RFC 6582 §3.2).
//! - When nothing is heard for two round trips and a bit, the oldest segment is sent again, to be told what is missing, as a tail
//!   loss probe (RFC 8985 §7) does with the newest.

use std::time::{Duration, Instant};

use fielato_wire::build::Tcp;
use fielato_wire::{Headers, TcpFlags};

/// Times that smoltcp must see an acknowledgement again (RFC 5681 §3.2).
const REPEATS: usize = 3;

/// Without progress for so long, smoltcp's timer has run out, and it sends everything again (`RTTE_MIN_RTO`).
const TIMER: Duration = Duration::from_secs(1);

/// How long the acknowledgement of a single segment may be held back (RFC 8985 §7.2, `TLP.max_ack_delay`); those of more are not,
/// but for a bit.
const ACK_DELAY: Duration = Duration::from_millis(200);
const BIT: Duration = Duration::from_millis(20);

/// Less than this is a single segment.
const SEGMENT: u32 = 1500;

/// What is known of the way to a member.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// End of what was sent, as a sequence number.
    sent: Option<u32>,
    last: Option<Segment>,
    duplicates: usize,
    /// What was under way when the first loss was seen, and when there was progress last.
    point: Option<(u32, Instant)>,
    /// When something was sent or acknowledged last, while something is under way.
    moved: Option<Instant>,
    probed: bool,
    /// The round trip that is being measured: what must be acknowledged, and since when.
    measured: Option<(u32, Instant)>,
    round_trip: Option<Duration>,
}

/// What a segment of the member's says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number behind its data.
    end: u32,
    acknowledged: u32,
    window: u16,
    is_empty: bool,
}

impl Segment {
    /// `None` when nothing is acknowledged.
    pub(super) fn read(headers: &Headers, packet: &[u8]) -> Option<Self> {
        if headers.tcp_flags.0 & (TcpFlags::ACK | TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) != TcpFlags::ACK {
            return None;
        }
        let transport = headers.transport(packet);
        let number = |at: usize| Some(u32::from_be_bytes(*transport.get(at..)?.first_chunk()?));
        let header = usize::from(transport.get(12)? >> 4) * 4;
        let data = transport.len().saturating_sub(header);
        Some(Self {
            end: number(4)?.wrapping_add(data as u32),
            acknowledged: number(8)?,
            window: u16::from_be_bytes(*transport.get(14..)?.first_chunk()?),
            is_empty: data == 0,
        })
    }

    /// What makes smoltcp send the next segment again: its acknowledgement alone, as often as that takes.
    pub(super) fn repeated(&self, sport: u16, dport: u16) -> impl Iterator<Item = Tcp> {
        let tcp = Tcp::new(sport, dport).seq(self.end).ack(self.acknowledged);
        // Another window, and back: however often smoltcp has seen it before, it counts from none.
        let windows = [self.window ^ 1]
            .into_iter()
            .chain(std::iter::repeat_n(self.window, 1 + REPEATS));
        windows.map(move |window| Tcp { window, ..tcp.clone() })
    }
}

impl Recovery {
    /// Something was sent up to `end`.
    pub(super) fn sent(&mut self, end: u32, now: Instant) {
        if self.sent.is_none_or(|sent| is_after(end, sent)) {
            self.sent = Some(end);
            self.measured = self.measured.or(Some((end, now)));
            self.moved = Some(now);
        }
    }

    /// A segment came. What should be repeated.
    pub(super) fn received(&mut self, segment: Segment, now: Instant) -> Option<Segment> {
        let number = segment.acknowledged;
        match self.last.replace(segment) {
            Some(before) if is_after(before.acknowledged, number) => {
                self.last = Some(before);
                None
            }
            Some(before) if before.acknowledged == number => {
                // As smoltcp counts: another window is an update (RFC 5681 §2).
                self.duplicates = match segment.is_empty && segment.window == before.window {
                    true => self.duplicates + 1,
                    false => 0,
                };
                if self.duplicates == REPEATS && self.point.is_none() {
                    self.lost(number, now);
                }
                None
            }
            _ => {
                self.progress(number, now);
                let (point, progress) = self.point?;
                if !is_after(point, number) || now >= progress + TIMER {
                    self.point = None;
                    return None;
                }
                self.point = Some((point, now));
                Some(segment)
            }
        }
    }

    fn progress(&mut self, number: u32, now: Instant) {
        self.duplicates = 0;
        self.probed = false;
        let is_under_way = self.sent.is_some_and(|sent| is_after(sent, number));
        self.moved = is_under_way.then_some(now);
        if let Some((end, since)) = self.measured
            && !is_after(end, number)
        {
            let sample = now.saturating_duration_since(since);
            // RFC 6298 §2.3.
            self.round_trip = Some(self.round_trip.map_or(sample, |before| (before * 7 + sample) / 8));
            self.measured = None;
        }
    }

    /// What is under way is looked after, up to its end.
    fn lost(&mut self, acknowledged: u32, now: Instant) {
        self.point = self.sent.filter(|sent| is_after(*sent, acknowledged)).map(|sent| (sent, now));
        // What is sent twice tells no round trip (Karn's algorithm, RFC 6298 §3).
        self.measured = None;
    }

    /// When [`Recovery::probe`] has something to say, if nothing is heard before.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        let (moved, round_trip) = (self.moved?, self.round_trip?);
        let under_way = self.sent?.wrapping_sub(self.last?.acknowledged);
        let delay = if under_way <= SEGMENT { ACK_DELAY } else { BIT };
        (!self.probed).then(|| moved + round_trip * 2 + delay)
    }

    /// What should be repeated because nothing was heard for long.
    pub(super) fn probe(&mut self, now: Instant) -> Option<Segment> {
        if self.probe_at().is_none_or(|at| now < at) {
            return None;
        }
        self.probed = true;
        let last = self.last?;
        self.lost(last.acknowledged, now);
        Some(last)
    }
}

/// In the order of sequence numbers (RFC 9293 §3.4).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Across the end of the numbers.
    fn at(offset: u32) -> u32 {
        u32::MAX.wrapping_sub(2000).wrapping_add(offset)
    }

    fn ack(offset: u32) -> Segment {
        Segment {
            end: 7,
            acknowledged: at(offset),
            window: 100,
            is_empty: true,
        }
    }

    #[test]
    fn a_partial_acknowledgement_is_repeated_and_others_are_not() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        recovery.sent(at(10_000), now);
        assert_eq!(recovery.received(ack(1000), now), None);
        for _ in 0..5 {
            assert_eq!(recovery.received(ack(1000), now), None);
        }
        recovery.sent(at(12_000), now);
        // What was sent after the loss was seen is no part of it.
        assert_eq!(recovery.received(ack(3000), now), Some(ack(3000)));
        assert_eq!(recovery.received(ack(2000), now), None);
        assert_eq!(recovery.received(ack(4000), now), Some(ack(4000)));
        assert_eq!(recovery.received(ack(10_000), now), None);
        assert_eq!(recovery.received(ack(11_000), now), None);
    }

    #[test]
    fn after_the_timer_nothing_is_repeated() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        recovery.sent(at(10_000), now);
        for _ in 0..4 {
            assert_eq!(recovery.received(ack(0), now), None);
        }
        assert!(recovery.received(ack(1000), now + TIMER - MS).is_some());
        assert_eq!(recovery.received(ack(2000), now + TIMER * 3), None);
        assert_eq!(recovery.received(ack(3000), now + TIMER * 3), None);
    }

    #[test]
    fn silence_is_asked_once_and_what_it_tells_is_used() {
        let start = Instant::now();
        let mut recovery = Recovery::default();
        recovery.sent(at(1000), start);
        // Without a round trip to go by, smoltcp's timer does.
        assert_eq!(recovery.probe_at(), None);
        assert_eq!(recovery.received(ack(1000), start + 50 * MS), None);
        assert_eq!(recovery.probe_at(), None);

        let now = start + 100 * MS;
        recovery.sent(at(6000), now);
        let due = now + 2 * 50 * MS + BIT;
        assert_eq!(recovery.probe_at(), Some(due));
        assert_eq!(recovery.probe(due - MS), None);
        assert_eq!(recovery.probe(due), Some(ack(1000)));
        assert_eq!((recovery.probe(due + 500 * MS), recovery.probe_at()), (None, None));

        // The next is missing, too; then all is there.
        assert_eq!(recovery.received(ack(3000), due + 50 * MS), Some(ack(3000)));
        assert_eq!(recovery.probe_at(), Some(due + 50 * MS + 2 * 50 * MS + BIT));
        assert_eq!(recovery.received(ack(6000), due + 100 * MS), None);
        assert_eq!(recovery.probe_at(), None);

        // A single segment may be acknowledged late.
        recovery.sent(at(7000), due + 200 * MS);
        assert_eq!(recovery.probe_at(), Some(due + 200 * MS + 2 * 50 * MS + ACK_DELAY));
    }
}
