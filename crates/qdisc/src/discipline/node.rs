//! A discipline at its place in the tree.

use super::fq_codel::FqCodel;
use super::netem::Netem;
use super::tbf::Tbf;
use super::{Arrival, Context, Dequeued, Discipline, Fifo, Htb, Queued};
use crate::apply::Builder;
use crate::charge::Charge;
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::{Handle, Parent, QdiscKind};
use crate::stats::{Counters, Extra, Stats};

/// What a discipline may know of its surroundings when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Packets that wait where no limit is given.
    pub txqueuelen: u32,
    /// The device's MTU.
    pub mtu: u32,
    /// A seed that no other discipline has.
    pub seed: u64,
    /// The time, ns.
    pub now: u64,
}

/// Every discipline that can run.
pub(crate) enum Running<P: Packet> {
    Fifo(Fifo<P>),
    Htb(Box<Htb<P>>),
    Tbf(Box<Tbf<P>>),
    FqCodel(Box<FqCodel<P>>),
    Netem(Box<Netem<P>>),
}

/// The same call for whichever discipline it is.
macro_rules! each {
    ($running:expr, $discipline:ident => $call:expr) => {
        match $running {
            Running::Fifo($discipline) => $call,
            Running::Htb($discipline) => $call,
            Running::Tbf($discipline) => $call,
            Running::FqCodel($discipline) => $call,
            Running::Netem($discipline) => $call,
        }
    };
}

impl<P: Packet> Running<P> {
    /// Starts a discipline; `None` for a kind that does not run here.
    pub fn new(kind: &QdiscKind, environment: &Environment) -> Option<Self> {
        Some(match kind {
            QdiscKind::Pfifo { .. } | QdiscKind::Bfifo { .. } => Running::Fifo(Fifo::new(kind, environment)),
            QdiscKind::Htb { .. } => Running::Htb(Box::new(Htb::new(kind, environment))),
            QdiscKind::Tbf(tbf) => Running::Tbf(Box::new(Tbf::new(tbf, environment))),
            QdiscKind::FqCodel(fq_codel) => Running::FqCodel(Box::new(FqCodel::new(fq_codel, environment))),
            QdiscKind::Netem(netem) => Running::Netem(Box::new(Netem::new(netem, environment))),
            _ => return None,
        })
    }
}

/// A discipline, its name and its counts.
pub(crate) struct Node<P: Packet> {
    pub handle: Handle,
    pub parent: Parent,
    pub kind: &'static str,
    pub counters: Counters,
    pub running: Running<P>,
}

impl<P: Packet> Node<P> {
    pub fn enqueue(
        &mut self,
        queued: Queued<P>,
        arrival: &Arrival,
        now: u64,
        charge: Charge,
        dropped: &mut dyn FnMut(P, DropReason),
    ) {
        self.counters.enters(&queued);
        let mut cx = Context {
            now,
            charge,
            counters: &mut self.counters,
            dropped,
        };
        each!(&mut self.running, discipline => discipline.enqueue(queued, arrival, &mut cx));
    }

    pub fn dequeue(&mut self, now: u64, charge: Charge, dropped: &mut dyn FnMut(P, DropReason)) -> Dequeued<P> {
        if self.counters.backlog.packets == 0 {
            return Dequeued::Empty;
        }
        let mut cx = Context {
            now,
            charge,
            counters: &mut self.counters,
            dropped,
        };
        let result = each!(&mut self.running, discipline => discipline.dequeue(&mut cx));
        if let Dequeued::Packet(queued) = &result {
            self.counters.sends(queued);
        }
        result
    }

    pub fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        each!(&mut self.running, discipline => discipline.change(kind, environment));
    }

    pub fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        each!(&mut self.running, discipline => discipline.drain(into));
        self.counters.backlog = Default::default();
    }

    pub fn reshape(&mut self, builder: &mut Builder<'_, P>) {
        let handle = self.handle;
        if let Some(waiting) = each!(&mut self.running, discipline => discipline.reshape(handle, builder)) {
            self.counters.backlog = waiting;
        }
    }

    pub fn class_of(&self, packet: &P, arrival: &Arrival, path: &mut Vec<Handle>) {
        path.push(self.handle);
        each!(&self.running, discipline => discipline.class_of(packet, arrival, path));
    }

    pub fn stats(&self, out: &mut Vec<Stats>) {
        let extra: Extra = each!(&self.running, discipline => discipline.extra());
        out.push(Stats::new(self.handle, self.parent, self.kind, false, &self.counters, extra));
        each!(&self.running, discipline => discipline.stats_below(self.handle, out));
    }
}
