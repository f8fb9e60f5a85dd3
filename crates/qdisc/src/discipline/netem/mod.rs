//! netem: a network as bad as asked for (net/sched/sch_netem.c).
//!
//! Random numbers are drawn in the kernel's order, but come from another generator. Three things are not as in the kernel:
//! delays do correlate (see [`random::Delays`]); a duplicate is queued here, not at the root of the tree; and a packet that is
//! marked instead of lost does not count as dropped.

mod loss;
mod random;
mod slot;
mod timed;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use self::loss::Loss;
use self::random::{Chance, Correlated, Delays, fraction, spread};
use self::slot::Slots;
use self::timed::Timed;
use super::{Arrival, Context, Dequeued, Discipline, Environment, Node, Queued};
use crate::apply::Builder;
use crate::drop::DropReason;
use crate::ecn;
use crate::packet::Packet;
use crate::spec::{self, Handle, QdiscKind};
use crate::stats::{Amount, Extra, Stats};

/// tc's limit when none is given.
const LIMIT: u32 = 1000;

/// What netem did to packets, beside losing them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetemStats {
    /// Packets marked instead of lost.
    pub ecn_mark: u64,
    /// Packets doubled.
    pub duplicated: u64,
    /// Packets with a bit turned over.
    pub corrupted: u64,
    /// Packets that overtook others.
    pub reordered: u64,
}

pub(crate) struct Netem<P: Packet> {
    netem: spec::Netem,
    rng: fastrand::Rng,
    loss: Loss,
    duplicate: Chance,
    corrupt: Chance,
    reorder: Correlated,
    delay: Delays,
    /// Packets since the last that was reordered.
    counter: u32,
    slots: Option<Slots>,
    /// Packets that overtake all others, the last first.
    front: VecDeque<(u64, Queued<P>)>,
    timed: Timed<Queued<P>>,
    /// A discipline behind the delay, if there is one.
    child: Option<Box<Node<P>>>,
    stats: NetemStats,
}

/// A time as a signed number of nanoseconds.
fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl<P: Packet> Netem<P> {
    pub fn new(netem: &spec::Netem, environment: &Environment) -> Self {
        let mut rng = fastrand::Rng::with_seed(netem.seed.unwrap_or(environment.seed));
        Netem {
            loss: Loss::new(&netem.loss, &mut rng),
            duplicate: Chance::new(netem.duplicate, netem.duplicate_correlation, &mut rng),
            corrupt: Chance::new(netem.corrupt, netem.corrupt_correlation, &mut rng),
            reorder: Correlated::new(netem.reorder_correlation, &mut rng),
            delay: Delays::new(netem.delay_correlation, &mut rng),
            counter: 0,
            slots: netem.slot.as_ref().and_then(|slot| Slots::new(slot, environment.now)),
            front: VecDeque::new(),
            timed: Timed::new(),
            child: None,
            stats: NetemStats::default(),
            netem: netem.clone(),
            rng,
        }
    }

    /// `netem_enqueue`, as far as it concerns how many of the packet there will be.
    fn accept(&mut self, mut queued: Queued<P>, may_double: bool, cx: &mut Context<'_, P>) {
        let double = may_double && self.duplicate.happens(&mut self.rng);
        let mut lose = self.loss.loses(&mut self.rng);
        if lose && self.netem.ecn && ecn::mark(&mut queued.packet) {
            self.stats.ecn_mark += 1;
            lose = false;
        }
        match (double, lose) {
            (false, true) => return cx.drop(queued, DropReason::NetemLoss),
            (true, false) => {
                self.stats.duplicated += 1;
                let duplicate = Queued {
                    packet: queued.packet.duplicate(),
                    ..queued
                };
                cx.enters(&duplicate);
                self.accept(duplicate, false, cx);
            }
            // Lost and doubled is one packet again.
            (true, true) | (false, false) => {}
        }
        if !self.corrupt.happens(&mut self.rng) {
            return self.delay(queued, cx);
        }
        // Of a superpacket the first segment is corrupted, and the others begin anew.
        let mut first = true;
        cx.split(queued, |cx, mut segment| {
            if !std::mem::take(&mut first) {
                return self.accept(segment, may_double, cx);
            }
            self.turn_a_bit(segment.packet.bytes_mut());
            self.delay(segment, cx);
        });
    }

    fn turn_a_bit(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        let place = self.rng.usize(..bytes.len());
        let bit = self.rng.u8(..8);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << bit;
            self.stats.corrupted += 1;
        }
    }

    /// `netem_enqueue` from the limit on: when the packet may leave.
    fn delay(&mut self, queued: Queued<P>, cx: &mut Context<'_, P>) {
        let limit = self.netem.limit.unwrap_or(LIMIT) as usize;
        if self.timed.len() + self.front.len() >= limit {
            cx.counters.overlimits += 1;
            return cx.drop(queued, DropReason::Overlimit);
        }
        if self.is_reordered() {
            self.counter = 0;
            self.stats.reordered += 1;
            self.front.push_front((cx.now, queued));
            return;
        }
        let random = match self.netem.jitter.is_zero() {
            true => 0,
            false => self.delay.next(&mut self.rng),
        };
        let mut delay = spread(
            signed(self.netem.delay),
            signed(self.netem.jitter),
            &self.netem.distribution,
            random,
        );
        let mut from = cx.now;
        if self.netem.rate != 0 {
            // The packet begins to be sent when the last one is out; the time until then is part of its delay.
            let front = self.front.back().map(|(time, _)| *time);
            if let Some(last) = front.into_iter().chain(self.timed.last()).max() {
                let ahead = i64::try_from(i128::from(last) - i128::from(cx.now)).unwrap_or(i64::MAX);
                delay = delay.saturating_sub(ahead).max(0);
                from = last;
            }
            delay = delay.saturating_add(self.transmit_time(queued.bytes));
        }
        self.counter = self.counter.saturating_add(1);
        self.timed.push(from.saturating_add_signed(delay), queued);
    }

    fn is_reordered(&mut self) -> bool {
        let gap = self.netem.gap;
        gap != 0 && self.counter >= gap - 1 && fraction(self.netem.reorder) >= self.reorder.next(&mut self.rng)
    }

    /// Nanoseconds that a packet of so many bytes takes at the rate (`packet_time_ns`).
    fn transmit_time(&self, bytes: u32) -> i64 {
        let mut length = (i128::from(bytes) + i128::from(self.netem.packet_overhead)).max(0);
        if self.netem.cell_size != 0 {
            let size = i128::from(self.netem.cell_size);
            let cells = (length + size - 1) / size;
            length = (cells * (size + i128::from(self.netem.cell_overhead))).max(0);
        }
        i64::try_from(length * 1_000_000_000 / i128::from(self.netem.rate.max(1))).unwrap_or(i64::MAX)
    }

    /// Takes the earliest packet if it may leave now; else says when, if there is one.
    fn due(&mut self, now: u64) -> Result<Queued<P>, Option<u64>> {
        let Some(time) = self.timed.first() else { return Err(None) };
        if let Some(slots) = &mut self.slots {
            // A slot that opened before there was anything to send is over.
            if slots.open < time {
                slots.close(now, &mut self.rng);
            }
        }
        let time = self.slots.as_ref().map_or(time, |slots| slots.open.max(time));
        if time > now {
            return Err(Some(time));
        }
        let (_, queued) = self.timed.pop().ok_or(None)?;
        if let Some(slots) = &mut self.slots {
            slots.sent(queued.bytes, now, &mut self.rng);
        }
        Ok(queued)
    }
}

impl<P: Packet> Discipline<P> for Netem<P> {
    fn enqueue(&mut self, queued: Queued<P>, _: &Arrival, cx: &mut Context<'_, P>) {
        self.accept(queued, true, cx);
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        if let Some((_, queued)) = self.front.pop_front() {
            return Dequeued::Packet(queued);
        }
        loop {
            let due = self.due(cx.now);
            match (due, &mut self.child) {
                (Ok(queued), None) => return Dequeued::Packet(queued),
                (Ok(queued), Some(child)) => cx.enqueue(child, queued, &Arrival::default()),
                (Err(next), child) => {
                    let waiting = next.map_or(Dequeued::Empty, Dequeued::NotBefore);
                    let below = child.as_mut().map(|child| cx.dequeue(child));
                    return match (waiting, below) {
                        (_, Some(Dequeued::Packet(queued))) => Dequeued::Packet(queued),
                        (Dequeued::NotBefore(one), Some(Dequeued::NotBefore(other))) => Dequeued::NotBefore(one.min(other)),
                        (Dequeued::Empty, Some(below)) => below,
                        (waiting, _) => waiting,
                    };
                }
            }
        }
    }

    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        let QdiscKind::Netem(netem) = kind else { return };
        if **netem == self.netem {
            return;
        }
        let Netem {
            front,
            timed,
            child,
            stats,
            ..
        } = std::mem::replace(self, Netem::new(netem, environment));
        (self.front, self.timed, self.child, self.stats) = (front, timed, child, stats);
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.front.drain(..).map(|(_, queued)| queued));
        into.extend(std::iter::from_fn(|| self.timed.pop()).map(|(_, queued)| queued));
        if let Some(child) = &mut self.child {
            child.drain(into);
        }
    }

    fn reshape(&mut self, handle: Handle, builder: &mut Builder<'_, P>) -> Option<Amount> {
        let class = Handle { minor: 1, ..handle };
        let old = self.child.take().map(|child| *child);
        self.child = builder.child_if_wanted(class, old).map(Box::new);
        let mut waiting = self.child.as_ref().map_or(Amount::default(), |child| child.counters.backlog);
        for queued in self.front.iter().map(|(_, queued)| queued).chain(self.timed.iter()) {
            waiting.packets += 1;
            waiting.bytes += u64::from(queued.bytes);
        }
        Some(waiting)
    }

    fn class_of(&self, packet: &P, arrival: &Arrival, path: &mut Vec<Handle>) {
        if let Some(child) = &self.child {
            child.class_of(packet, arrival, path);
        }
    }

    fn stats_below(&self, _: Handle, out: &mut Vec<Stats>) {
        if let Some(child) = &self.child {
            child.stats(out);
        }
    }

    fn extra(&self) -> Extra {
        Extra::Netem(self.stats.clone())
    }
}
