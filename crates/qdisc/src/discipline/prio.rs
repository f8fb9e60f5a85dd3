//! prio: bands of which an earlier one always goes first (`net/sched/sch_prio.c`).

use super::{Arrival, Context, Dequeued, Discipline, Environment, Node, Queued};
use crate::apply::Builder;
use crate::drop::DropReason;
use crate::filter::{Filters, tos_priority};
use crate::packet::Packet;
use crate::spec::{self, Handle, Parent, QdiscKind};
use crate::stats::{Amount, Extra, Shape, Stats};

pub(crate) struct Prio<P: Packet> {
    handle: Handle,
    spec: spec::Prio,
    filters: Filters,
    bands: Vec<Node<P>>,
}

impl<P: Packet> Prio<P> {
    pub fn new(prio: &spec::Prio, _: &Environment) -> Self {
        Prio {
            handle: Handle::default(),
            spec: prio.clone(),
            filters: Filters::default(),
            bands: Vec::new(),
        }
    }

    /// `prio_classify`
    fn classify(&self, packet: &P, arrival: &Arrival) -> usize {
        let by_priority = |priority: u32| usize::from(self.spec.priomap[(priority & 15) as usize]);
        let priority = packet.priority();
        let minor = if self.handle.major != 0 && (priority >> 16) as u16 == self.handle.major {
            priority as u16
        } else {
            match self.filters.classify(packet, arrival, self.handle) {
                Some(class) => class.minor,
                // Another discipline's class says nothing here.
                None if priority >> 16 != 0 => return by_priority(0),
                None if priority != 0 => return by_priority(priority),
                None => return by_priority(arrival.headers(packet).map_or(0, tos_priority)),
            }
        };
        match usize::from(minor).checked_sub(1) {
            Some(band) if band < self.bands.len() => band,
            _ => by_priority(0),
        }
    }

    fn class(&self, band: usize) -> Handle {
        Handle {
            minor: band as u16 + 1,
            ..self.handle
        }
    }
}

impl<P: Packet> Discipline<P> for Prio<P> {
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>) {
        let band = self.classify(&queued.packet, arrival);
        match self.bands.get_mut(band) {
            Some(child) => cx.enqueue(child, queued, arrival),
            None => cx.drop(queued, DropReason::NoClass),
        }
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        let mut earliest = None;
        for band in &mut self.bands {
            match cx.dequeue(band) {
                Dequeued::Empty => {}
                Dequeued::NotBefore(time) => earliest = Some(earliest.map_or(time, |earliest: u64| earliest.min(time))),
                packet => return packet,
            }
        }
        earliest.map_or(Dequeued::Empty, Dequeued::NotBefore)
    }

    fn change(&mut self, kind: &QdiscKind, _: &Environment) {
        if let QdiscKind::Prio(prio) = kind {
            self.spec = prio.clone();
        }
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        for band in &mut self.bands {
            band.drain(into);
        }
    }

    fn reshape(&mut self, handle: Handle, builder: &mut Builder<'_, P>) -> Option<Amount> {
        self.handle = handle;
        self.filters = builder.filters(handle);
        let mut old = std::mem::take(&mut self.bands).into_iter();
        for band in 0..usize::from(self.spec.bands) {
            let child = builder.child(self.class(band), old.next(), &QdiscKind::Pfifo { limit: None });
            self.bands.push(child);
        }
        for band in old {
            builder.remove(band);
        }
        let mut waiting = Amount::default();
        for band in &self.bands {
            waiting.packets += band.counters.backlog.packets;
            waiting.bytes += band.counters.backlog.bytes;
        }
        Some(waiting)
    }

    fn class_of(&self, packet: &P, arrival: &Arrival, path: &mut Vec<Handle>) {
        let band = self.classify(packet, arrival);
        if let Some(child) = self.bands.get(band) {
            path.push(self.class(band));
            child.class_of(packet, arrival, path);
        }
    }

    fn stats_below(&self, _: Handle, out: &mut Vec<Stats>) {
        for (band, child) in self.bands.iter().enumerate() {
            let (id, parent) = (self.class(band), Parent::Class(self.handle));
            let class = Stats::new(id, parent, Shape::Class("prio"), &child.counters, Extra::None);
            out.push(class.with_leaf(child.handle));
            child.stats(out);
        }
    }
}
