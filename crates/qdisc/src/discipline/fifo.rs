//! pfifo and bfifo: first in, first out, up to a number of packets or bytes (`net/sched/sch_fifo.c`).

use std::collections::VecDeque;

use super::{Arrival, Context, Dequeued, Discipline, Environment, Queued};
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::QdiscKind;

pub(crate) struct Fifo<P> {
    queue: VecDeque<Queued<P>>,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Packets(u64),
    Bytes(u64),
}

impl Limit {
    fn of(kind: &QdiscKind, environment: &Environment) -> Limit {
        // `__fifo_init`: a device's queue length, at least one packet; for bytes, as many full packets.
        let packets = u64::from(environment.txqueuelen.max(1));
        match kind {
            QdiscKind::Bfifo { limit } => Limit::Bytes(limit.map_or(packets * u64::from(environment.mtu), u64::from)),
            QdiscKind::Pfifo { limit } => Limit::Packets(limit.map_or(packets, u64::from)),
            _ => Limit::Packets(packets),
        }
    }
}

impl<P> Fifo<P> {
    pub fn new(kind: &QdiscKind, environment: &Environment) -> Self {
        Fifo {
            queue: VecDeque::new(),
            limit: Limit::of(kind, environment),
        }
    }
}

impl<P: Packet> Discipline<P> for Fifo<P> {
    fn enqueue(&mut self, queued: Queued<P>, _: &Arrival, cx: &mut Context<'_, P>) {
        // The backlog includes this packet already.
        let backlog = cx.counters.backlog;
        let fits = match self.limit {
            Limit::Packets(limit) => backlog.packets <= limit,
            Limit::Bytes(limit) => backlog.bytes <= limit,
        };
        match fits {
            true => self.queue.push_back(queued),
            false => cx.drop(queued, DropReason::Overlimit),
        }
    }

    fn dequeue(&mut self, _: &mut Context<'_, P>) -> Dequeued<P> {
        self.queue.pop_front().map_or(Dequeued::Empty, Dequeued::Packet)
    }

    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        self.limit = Limit::of(kind, environment);
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.queue.drain(..));
    }
}
