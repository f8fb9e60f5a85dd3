//! sfq: flows, told apart by a hash, take turns (`net/sched/sch_sfq.c`).

use std::collections::VecDeque;

use super::{Arrival, Context, Dequeued, Discipline, Environment, Queued};
use crate::apply::Builder;
use crate::drop::DropReason;
use crate::filter::Filters;
use crate::flow::FlowKey;
use crate::packet::Packet;
use crate::spec::{self, Handle, QdiscKind};
use crate::stats::Amount;

/// No flow has this slot of the hash table.
const EMPTY: u16 = u16::MAX;

struct Flow<P> {
    queue: VecDeque<Queued<P>>,
    /// What is left of its turn.
    allot: i64,
    /// Its place in the hash table.
    slot: u32,
    /// Where it stands among the flows of as many packets.
    place: u32,
}

pub(crate) struct Sfq<P> {
    handle: Handle,
    limit: usize,
    depth: usize,
    quantum: i64,
    headdrop: bool,
    perturb: Option<u64>,
    next_perturb: u64,
    filters: Filters,
    seed: u64,
    rng: fastrand::Rng,
    /// The flow of each hash.
    slots: Vec<u16>,
    flows: Vec<Flow<P>>,
    /// Flows in the order of their turns; the first is served.
    turns: VecDeque<u16>,
    /// Flows by their number of packets: those with none are free.
    by_depth: Vec<Vec<u16>>,
    /// The most packets that a flow has.
    deepest: usize,
    waiting: usize,
}

impl<P: Packet> Sfq<P> {
    pub fn new(sfq: &spec::Sfq, environment: &Environment) -> Self {
        let mut rng = fastrand::Rng::with_seed(environment.seed);
        let flows = sfq.flows.unwrap_or(spec::Sfq::DEFAULT_FLOWS).clamp(1, spec::Sfq::MAX_FLOWS);
        let depth = sfq.depth.unwrap_or(spec::Sfq::MAX_DEPTH).clamp(1, spec::Sfq::MAX_DEPTH) as usize;
        // Sizes of tables can't be changed later, in the kernel neither.
        let divisor = sfq
            .divisor
            .unwrap_or(spec::Sfq::DEFAULT_DIVISOR)
            .clamp(1, 65_536)
            .next_power_of_two();
        let mut new = Sfq {
            handle: Handle::default(),
            limit: 0,
            depth,
            quantum: 0,
            headdrop: false,
            perturb: None,
            next_perturb: 0,
            filters: Filters::default(),
            seed: rng.u64(..),
            rng,
            slots: vec![EMPTY; divisor as usize],
            flows: (0..flows)
                .map(|place| Flow {
                    queue: VecDeque::new(),
                    allot: 0,
                    slot: 0,
                    place,
                })
                .collect(),
            turns: VecDeque::new(),
            by_depth: vec![Vec::new(); depth + 1],
            deepest: 0,
            waiting: 0,
        };
        new.by_depth[0] = (0..flows as u16).collect();
        new.set(sfq, environment);
        new
    }

    fn set(&mut self, sfq: &spec::Sfq, environment: &Environment) {
        let most = self.depth.saturating_mul(self.flows.len());
        self.limit = sfq
            .limit
            .map_or(spec::Sfq::MAX_DEPTH as usize, |limit| limit as usize)
            .clamp(1, most);
        self.quantum = i64::from(sfq.quantum.unwrap_or(environment.mtu).max(1));
        self.headdrop = sfq.headdrop;
        let perturb = sfq
            .perturb
            .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
        if self.perturb != perturb {
            self.perturb = perturb;
            self.next_perturb = environment.now.saturating_add(perturb.unwrap_or(0));
        }
    }

    /// The slot of a packet's flow; `None` when a filter names none that exists.
    fn classify(&self, packet: &P, arrival: &Arrival) -> Option<u32> {
        let priority = packet.priority();
        let divisor = self.slots.len() as u32;
        let minor = priority & 0xffff;
        if self.handle.major != 0 && priority >> 16 == u32::from(self.handle.major) && (1..=divisor).contains(&minor) {
            return Some(minor - 1);
        }
        if self.filters.is_empty() {
            let hash = arrival
                .headers(packet)
                .map_or(0, |headers| FlowKey::of(headers).hash(self.seed));
            return Some((hash >> 32) as u32 & (divisor - 1));
        }
        let class = self.filters.classify(packet, arrival, self.handle)?;
        u32::from(class.minor).checked_sub(1).filter(|slot| *slot < divisor)
    }

    /// A flow's number of packets changed from `from`.
    fn move_flow(&mut self, index: u16, from: usize) {
        let to = self.flows[usize::from(index)].queue.len();
        let place = self.flows[usize::from(index)].place as usize;
        self.by_depth[from].swap_remove(place);
        if let Some(moved) = self.by_depth[from].get(place) {
            self.flows[usize::from(*moved)].place = place as u32;
        }
        self.flows[usize::from(index)].place = self.by_depth[to].len() as u32;
        self.by_depth[to].push(index);
        self.deepest = self.deepest.max(to);
        while self.deepest > 0 && self.by_depth[self.deepest].is_empty() {
            self.deepest -= 1;
        }
    }

    /// Puts a packet into a flow's queue.
    fn put(&mut self, slot: u32, queued: Queued<P>) -> Result<u16, Queued<P>> {
        let mut index = self.slots[slot as usize];
        if index == EMPTY {
            let Some(free) = self.by_depth[0].last() else {
                return Err(queued);
            };
            index = *free;
            self.slots[slot as usize] = index;
            let flow = &mut self.flows[usize::from(index)];
            flow.slot = slot;
            flow.allot = self.quantum;
            self.turns.push_back(index);
        }
        let flow = &mut self.flows[usize::from(index)];
        flow.queue.push_back(queued);
        let before = flow.queue.len() - 1;
        self.waiting += 1;
        self.move_flow(index, before);
        Ok(index)
    }

    /// Takes a packet out of a flow's queue.
    fn take(&mut self, index: u16, newest: bool) -> Option<Queued<P>> {
        let flow = &mut self.flows[usize::from(index)];
        let before = flow.queue.len();
        let queued = match newest {
            true => flow.queue.pop_back(),
            false => flow.queue.pop_front(),
        }?;
        self.waiting -= 1;
        if before == 1 {
            self.slots[flow.slot as usize] = EMPTY;
            if self.turns.front() == Some(&index) {
                self.turns.pop_front();
            } else {
                self.turns.retain(|other| *other != index);
            }
        }
        self.move_flow(index, before);
        Some(queued)
    }

    /// The longest flow loses a packet; if all have one, the one whose turn it is (`sfq_drop`).
    fn drop_from_longest(&mut self, cx: &mut Context<'_, P>) {
        let index = match self.deepest {
            0 | 1 => self.turns.front(),
            deepest => self.by_depth[deepest].last(),
        };
        if let Some(queued) = index.copied().and_then(|index| self.take(index, !self.headdrop)) {
            cx.drop(queued, DropReason::Overlimit);
        }
    }

    /// Flows that shared a place by chance shall not share it for ever (`sfq_perturbation`). Each flow's order is kept.
    fn shuffle(&mut self, cx: &mut Context<'_, P>) {
        let Some(period) = self.perturb.filter(|_| cx.now >= self.next_perturb) else {
            return;
        };
        self.next_perturb = cx.now.saturating_add(period);
        self.seed = self.rng.u64(..);
        if !self.filters.is_empty() || self.waiting == 0 {
            return;
        }
        let mut all = Vec::with_capacity(self.waiting);
        self.drain_flows(&mut all);
        for queued in all {
            let slot = self.classify(&queued.packet, &Arrival::default()).unwrap_or(0);
            let index = self.slots[slot as usize];
            let full = index != EMPTY && self.flows[usize::from(index)].queue.len() >= self.depth;
            match full {
                true => cx.drop(queued, DropReason::FlowLimit),
                false => {
                    if let Err(queued) = self.put(slot, queued) {
                        cx.drop(queued, DropReason::FlowLimit);
                    }
                }
            }
        }
    }

    fn drain_flows(&mut self, into: &mut Vec<Queued<P>>) {
        while let Some(index) = self.turns.front().copied() {
            while let Some(queued) = self.take(index, false) {
                into.push(queued);
            }
        }
    }

    /// Gives every flow as many quanta as the nearest to its turn lacks.
    fn refill(&mut self) {
        let lacks = |flow: &Flow<P>| (1 - flow.allot).max(0).unsigned_abs().div_ceil(self.quantum.unsigned_abs());
        let flows = &self.flows;
        let rounds = self.turns.iter().map(|index| lacks(&flows[usize::from(*index)])).min();
        let allot = self.quantum.saturating_mul(rounds.unwrap_or(0) as i64);
        for index in &self.turns {
            self.flows[usize::from(*index)].allot += allot;
        }
    }
}

impl<P: Packet> Discipline<P> for Sfq<P> {
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>) {
        self.shuffle(cx);
        let Some(slot) = self.classify(&queued.packet, arrival) else {
            return cx.drop(queued, DropReason::NoClass);
        };
        let index = self.slots[slot as usize];
        if index != EMPTY && self.flows[usize::from(index)].queue.len() >= self.depth {
            if !self.headdrop {
                return cx.drop(queued, DropReason::FlowLimit);
            }
            // The oldest makes room; the flow keeps its turn. At a depth of one it is a new flow.
            if let Some(oldest) = self.take(index, false) {
                cx.drop(oldest, DropReason::FlowLimit);
            }
        }
        match self.put(slot, queued) {
            Err(queued) => cx.drop(queued, DropReason::FlowLimit),
            Ok(_) if self.waiting > self.limit => self.drop_from_longest(cx),
            Ok(_) => {}
        }
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        self.shuffle(cx);
        // One round finds a flow whose turn it is, unless all are in debt for superpackets.
        for _ in 0..=self.turns.len() {
            let Some(index) = self.turns.front().copied() else {
                return Dequeued::Empty;
            };
            if self.flows[usize::from(index)].allot > 0 {
                break;
            }
            self.flows[usize::from(index)].allot += self.quantum;
            self.turns.rotate_left(1);
        }
        let in_debt = |sfq: &Self, index: u16| sfq.flows[usize::from(index)].allot <= 0;
        if self.turns.front().is_some_and(|index| in_debt(self, *index)) {
            self.refill();
            if let Some(at) = self.turns.iter().position(|index| !in_debt(self, *index)) {
                self.turns.rotate_left(at);
            }
        }
        let Some(index) = self.turns.front().copied() else {
            return Dequeued::Empty;
        };
        match self.take(index, false) {
            Some(queued) => {
                self.flows[usize::from(index)].allot -= i64::from(queued.bytes);
                Dequeued::Packet(queued)
            }
            None => Dequeued::Empty,
        }
    }

    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        if let QdiscKind::Sfq(sfq) = kind {
            self.set(sfq, environment);
        }
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        self.drain_flows(into);
    }

    fn reshape(&mut self, handle: Handle, builder: &mut Builder<'_, P>) -> Option<Amount> {
        self.handle = handle;
        self.filters = builder.filters(handle);
        None
    }
}
