//! tbf: one or two token buckets before a queue (`net/sched/sch_tbf.c`).

use super::{Arrival, Context, Dequeued, Discipline, Environment, Node, Queued};
use crate::apply::Builder;
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::rate::{Rate, Ticks, after, elapsed, lateness};
use crate::spec::{self, Handle, Parent, QdiscKind};
use crate::stats::{Amount, Extra, Shape, Stats};

/// A bucket of time: how long may be sent at the rate without waiting.
struct Bucket {
    rate: Rate,
    size: Ticks,
    tokens: Ticks,
}

impl Bucket {
    fn new(rate: u64, bytes: u32) -> Bucket {
        let rate = Rate::new(rate);
        let size = rate.time(bytes);
        Bucket {
            rate,
            size,
            tokens: size,
        }
    }

    /// Counts what came in. The bucket overflows at its size, or `late` beyond: what a caller who came too late has cost.
    fn fill(&mut self, passed: Ticks, late: Ticks) {
        self.tokens = self.tokens.saturating_add(passed).min(self.tokens.max(self.size + late));
    }

    /// How long `bytes` have to wait. What came in when the bucket was larger goes when it is full.
    fn wait(&self, bytes: u32) -> Ticks {
        self.rate.time(bytes).min(self.size) - self.tokens
    }
}

pub(crate) struct Tbf<P: Packet> {
    sustained: Bucket,
    peak: Option<Bucket>,
    /// No packet may be larger: it would wait for ever.
    max_bytes: u32,
    /// When the buckets were last counted, ns.
    counted: u64,
    /// When the head may leave, if it had to wait.
    due: Option<u64>,
    /// What the queue gave but the buckets did not let go yet (`qdisc_peek_dequeued`).
    head: Option<Queued<P>>,
    limit: u32,
    /// `None` only while it is being rebuilt.
    child: Option<Box<Node<P>>>,
}

impl<P: Packet> Tbf<P> {
    pub fn new(tbf: &spec::Tbf, environment: &Environment) -> Self {
        let (sustained, peak, max_bytes) = buckets(tbf);
        Tbf {
            sustained,
            peak,
            max_bytes,
            counted: environment.now,
            due: None,
            head: None,
            limit: tbf.limit,
            child: None,
        }
    }
}

fn buckets(tbf: &spec::Tbf) -> (Bucket, Option<Bucket>, u32) {
    let peak = tbf.peakrate.zip(tbf.mtu);
    (
        Bucket::new(tbf.rate, tbf.burst),
        peak.map(|(rate, bytes)| Bucket::new(rate, bytes)),
        peak.map_or(tbf.burst, |(_, bytes)| tbf.burst.min(bytes)),
    )
}

impl<P: Packet> Discipline<P> for Tbf<P> {
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>) {
        let Some(child) = &mut self.child else {
            return cx.drop(queued, DropReason::NoClass);
        };
        if queued.bytes <= self.max_bytes {
            return cx.enqueue(child, queued, arrival);
        }
        // `tbf_segment`: what is too large as a whole may fit in pieces.
        let max_bytes = self.max_bytes;
        cx.split(queued, |cx, segment| match segment.bytes <= max_bytes {
            true => cx.enqueue(child, segment, arrival),
            false => cx.drop(segment, DropReason::TooBig),
        });
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        let late = self.due.map_or(0, |due| lateness(cx.now, due));
        let passed = elapsed(cx.now, self.counted);
        self.counted = self.counted.max(cx.now);
        self.sustained.fill(passed, late);
        if let Some(peak) = &mut self.peak {
            // Its very purpose is that not much leaves at once.
            peak.fill(passed, 0);
        }
        let head = match (self.head.take(), &mut self.child) {
            (Some(head), _) => head,
            (None, Some(child)) => match cx.dequeue(child) {
                Dequeued::Packet(head) => head,
                other => {
                    // Nothing waits for tokens any more, so nothing was late.
                    self.due = None;
                    self.sustained.tokens = self.sustained.tokens.min(self.sustained.size);
                    return other;
                }
            },
            (None, None) => return Dequeued::Empty,
        };
        let peak_wait = self.peak.as_ref().map_or(0, |peak| peak.wait(head.bytes));
        let wait = self.sustained.wait(head.bytes).max(peak_wait);
        if wait > 0 {
            self.head = Some(head);
            cx.counters.overlimits += 1;
            let due = after(cx.now, wait);
            self.due = Some(due);
            return Dequeued::NotBefore(due);
        }
        self.due = None;
        self.sustained.tokens -= self.sustained.rate.time(head.bytes);
        if let Some(peak) = &mut self.peak {
            peak.tokens -= peak.rate.time(head.bytes);
        }
        Dequeued::Packet(head)
    }

    fn change(&mut self, kind: &QdiscKind, _: &Environment) {
        let QdiscKind::Tbf(tbf) = kind else { return };
        let (sustained, peak, max_bytes) = buckets(tbf);
        // No new burst with every change: a bucket keeps its level as far as it fits.
        let keep = |new: &mut Bucket, old: &Bucket| new.tokens = old.tokens.min(new.size);
        let (old, old_peak) = (
            std::mem::replace(&mut self.sustained, sustained),
            std::mem::replace(&mut self.peak, peak),
        );
        keep(&mut self.sustained, &old);
        if let (Some(new), Some(old)) = (&mut self.peak, &old_peak) {
            keep(new, old);
        }
        self.max_bytes = max_bytes;
        self.limit = tbf.limit;
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.head.take());
        if let Some(child) = &mut self.child {
            child.drain(into);
        }
    }

    fn reshape(&mut self, handle: Handle, builder: &mut Builder<'_, P>) -> Option<Amount> {
        let class = Handle { minor: 1, ..handle };
        let default = QdiscKind::Bfifo { limit: Some(self.limit) };
        let old = self.child.take().map(|child| *child);
        let child = builder.child(class, old, &default);
        let mut waiting = child.counters.backlog;
        if let Some(head) = &self.head {
            waiting.packets += 1;
            waiting.bytes += u64::from(head.bytes);
        }
        self.child = Some(Box::new(child));
        Some(waiting)
    }

    fn class_of(&self, packet: &P, arrival: &Arrival, path: &mut Vec<Handle>) {
        if let Some(child) = &self.child {
            child.class_of(packet, arrival, path);
        }
    }

    fn stats_below(&self, handle: Handle, out: &mut Vec<Stats>) {
        if let Some(child) = &self.child {
            let (id, parent) = (Handle { minor: 1, ..handle }, Parent::Class(handle));
            let class = Stats::new(id, parent, Shape::Class("tbf"), &child.counters, Extra::None);
            out.push(class.with_leaf(child.handle));
            child.stats(out);
        }
    }
}
