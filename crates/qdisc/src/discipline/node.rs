//! A discipline at its place in the tree.

use super::codel::Codel;
use super::fq_codel::FqCodel;
use super::netem::Netem;
use super::prio::Prio;
use super::sfq::Sfq;
use super::tbf::Tbf;
use super::{Arrival, Context, Dequeued, Discipline, Fifo, Htb, Queued};
use crate::apply::Builder;
use crate::charge::Charge;
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::{Handle, HostFairness, Parent, QdiscKind, Stab};
use crate::stats::{Counters, Extra, Shape, Stats};

/// What a discipline may know of its surroundings when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Packets that wait where no limit is given.
    pub txqueuelen: u32,
    /// A full packet as it is charged: the device's MTU and the link's header (`psched_mtu`).
    pub mtu: u32,
    /// A seed that no other discipline has.
    pub seed: u64,
    /// The time, ns.
    pub now: u64,
    /// What is a host for fairness between hosts, unless told.
    pub hosts: HostFairness,
}

/// Every discipline that can run.
pub(crate) enum Running<P: Packet> {
    Fifo(Fifo<P>),
    Htb(Box<Htb<P>>),
    Prio(Box<Prio<P>>),
    Sfq(Box<Sfq<P>>),
    Tbf(Box<Tbf<P>>),
    Codel(Box<Codel<P>>),
    FqCodel(Box<FqCodel<P>>),
    Netem(Box<Netem<P>>),
}

/// The same call for whichever discipline it is.
macro_rules! each {
    ($running:expr, $discipline:ident => $call:expr) => {
        match $running {
            Running::Fifo($discipline) => $call,
            Running::Htb($discipline) => $call,
            Running::Prio($discipline) => $call,
            Running::Sfq($discipline) => $call,
            Running::Tbf($discipline) => $call,
            Running::Codel($discipline) => $call,
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
            QdiscKind::Prio(prio) => Running::Prio(Box::new(Prio::new(prio, environment))),
            QdiscKind::Sfq(sfq) => Running::Sfq(Box::new(Sfq::new(sfq, environment))),
            QdiscKind::Tbf(tbf) => Running::Tbf(Box::new(Tbf::new(tbf, environment))),
            QdiscKind::Codel(codel) => Running::Codel(Box::new(Codel::new(codel, environment))),
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
    /// As it was asked for.
    pub spec: QdiscKind,
    /// How lengths are charged from here on down.
    pub stab: Option<Stab>,
    /// The same with all defaults filled in.
    pub shown: QdiscKind,
    pub direct_qlen: u32,
    pub counters: Counters,
    pub running: Running<P>,
}

impl<P: Packet> Node<P> {
    pub fn enqueue(
        &mut self,
        mut queued: Queued<P>,
        arrival: &Arrival,
        now: u64,
        charge: Charge,
        dropped: &mut dyn FnMut(P, DropReason),
    ) {
        let charge = self.charge(charge);
        if self.stab.is_some() {
            let cost = charge.of(&queued.packet, || arrival.headers(&queued.packet).copied());
            queued.bytes = cost.bytes;
        }
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
        let charge = self.charge(charge);
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

    /// How lengths are charged here, with what comes from above.
    fn charge(&self, above: Charge) -> Charge {
        Charge {
            stab: self.stab.or(above.stab),
            ..above
        }
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
        // A class's own queue has no name.
        if self.handle.major != 0 {
            path.push(self.handle);
        }
        each!(&self.running, discipline => discipline.class_of(packet, arrival, path));
    }

    pub fn stats(&self, out: &mut Vec<Stats>) {
        let extra: Extra = each!(&self.running, discipline => discipline.extra());
        let shape = Shape::Qdisc {
            kind: self.shown.clone(),
            stab: self.stab,
            direct_qlen: self.direct_qlen,
        };
        out.push(Stats::new(self.handle, self.parent, shape, &self.counters, extra));
        each!(&self.running, discipline => discipline.stats_below(self.handle, out));
    }
}
