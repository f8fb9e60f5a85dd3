//! The running disciplines: what each must do, and what the tree does for all of them.

mod codel;
mod fifo;
mod fq_codel;
mod htb;
mod netem;
mod node;
mod prio;
mod sfq;
mod tbf;

use std::cell::OnceCell;

use fielato_wire::Headers;

pub use codel::CodelStats;
pub(crate) use fifo::Fifo;
pub use fq_codel::FqCodelStats;
pub(crate) use htb::Htb;
pub use netem::NetemStats;
pub(crate) use node::{Environment, Node, Running};

use crate::apply::Builder;
use crate::charge::Charge;
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::{Handle, QdiscKind};
use crate::stats::{Amount, Counters, Extra, Stats};

/// A packet in a queue.
#[derive(Debug)]
pub struct Queued<P> {
    /// The embedder's packet.
    pub packet: P,
    /// What it is charged, bytes: the kernel's `qdisc_pkt_len`.
    pub bytes: u32,
    /// Packets on the wire: more than one for a superpacket.
    pub segments: u16,
}

/// What is known about a packet that is being enqueued; found out at most once on its way down the tree.
#[derive(Default)]
pub struct Arrival {
    headers: OnceCell<Option<Headers>>,
}

impl Arrival {
    /// The packet's headers; `None` when they make no sense.
    pub fn headers<P: Packet>(&self, packet: &P) -> Option<&Headers> {
        self.headers.get_or_init(|| packet.headers()).as_ref()
    }
}

/// What comes out of a discipline.
pub enum Dequeued<P> {
    /// A packet, to be sent now.
    Packet(Queued<P>),
    /// Nothing waits.
    Empty,
    /// Something waits, but not before this time, in ns, unless more is enqueued.
    NotBefore(u64),
}

/// What a discipline works in: the time, its own counters, and where its drops go.
pub struct Context<'a, P> {
    /// Nanoseconds; never goes back.
    pub now: u64,
    /// How lengths are charged here.
    pub charge: Charge,
    /// The discipline's own. The backlog and what is sent or dropped are counted by the tree and by this context's methods.
    pub counters: &'a mut Counters,
    dropped: &'a mut dyn FnMut(P, DropReason),
}

impl<P: Packet> Context<'_, P> {
    /// Drops a packet that was enqueued here.
    pub fn drop(&mut self, queued: Queued<P>, reason: DropReason) {
        self.counters.drops(&queued, reason);
        (self.dropped)(queued.packet, reason);
    }

    /// Cuts a superpacket that was enqueued here into segments, which now are what was enqueued.
    pub fn split(&mut self, queued: Queued<P>, mut each: impl FnMut(&mut Self, Queued<P>)) {
        self.counters.forget(&queued);
        queued.packet.split(&mut |packet| {
            let segment = Queued {
                bytes: self.charge.plain(packet.bytes().len()),
                packet,
                segments: 1,
            };
            self.counters.enters(&segment);
            each(self, segment);
        });
    }

    /// A packet that did not arrive from above is now enqueued here: netem's duplicates.
    pub fn enters(&mut self, queued: &Queued<P>) {
        self.counters.enters(queued);
    }

    /// Hands a packet on to a child; what is dropped there is counted here, too.
    pub fn enqueue(&mut self, child: &mut Node<P>, queued: Queued<P>, arrival: &Arrival) {
        let (before, dropped) = (child.counters.backlog, child.counters.dropped);
        let bytes = u64::from(queued.bytes);
        child.enqueue(queued, arrival, self.now, self.charge, self.dropped);
        let after = child.counters.backlog;
        // The child may have dropped, split or charged by a table of its own: this backlog changes as much as the child's.
        self.change_backlog(before.packets + 1, before.bytes + bytes, after.packets, after.bytes);
        self.counters.dropped += child.counters.dropped - dropped;
    }

    /// Takes a packet from a child. It still counts as waiting here until it is returned from `dequeue`.
    pub fn dequeue(&mut self, child: &mut Node<P>) -> Dequeued<P> {
        let (before, dropped) = (child.counters.backlog, child.counters.dropped);
        let mut result = child.dequeue(self.now, self.charge, self.dropped);
        let (mut packets, mut bytes) = (0, 0);
        if let Dequeued::Packet(queued) = &mut result {
            // What the child charged by a table of its own was its own affair.
            if child.stab.is_some() {
                queued.bytes = self.charge.of(&queued.packet, || queued.packet.headers()).bytes;
            }
            (packets, bytes) = (1, u64::from(queued.bytes));
        }
        let after = child.counters.backlog;
        self.change_backlog(before.packets, before.bytes, after.packets + packets, after.bytes + bytes);
        self.counters.dropped += child.counters.dropped - dropped;
        result
    }

    fn change_backlog(&mut self, packets_before: u64, bytes_before: u64, packets: u64, bytes: u64) {
        let backlog = &mut self.counters.backlog;
        backlog.packets = (backlog.packets + packets).saturating_sub(packets_before);
        backlog.bytes = (backlog.bytes + bytes).saturating_sub(bytes_before);
    }
}

/// A queueing discipline at work.
///
/// The tree counts what arrives and what is returned from `dequeue`; a discipline drops through [`Context::drop`] and works on
/// its children through [`Context::enqueue`] and [`Context::dequeue`], which keep the counts right.
pub(crate) trait Discipline<P: Packet> {
    /// Takes a packet, or drops it or others.
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>);

    /// Gives the next packet. Does a bounded amount of work.
    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P>;

    /// Takes new parameters and keeps what is queued; `kind` is of the same name.
    fn change(&mut self, kind: &QdiscKind, environment: &Environment);

    /// Gives up everything that waits, children's included.
    fn drain(&mut self, into: &mut Vec<Queued<P>>);

    /// Makes classes and children as the builder knows them; `handle` is this discipline's own. Gives what waits now, if it has
    /// children.
    fn reshape(&mut self, _handle: Handle, _builder: &mut Builder<'_, P>) -> Option<Amount> {
        None
    }

    /// Adds where the packet would be queued: the class, then what is in it. Changes nothing.
    fn class_of(&self, _packet: &P, _arrival: &Arrival, _path: &mut Vec<Handle>) {}

    /// The statistics of classes and children.
    fn stats_below(&self, _handle: Handle, _out: &mut Vec<Stats>) {}

    /// What only this kind counts.
    fn extra(&self) -> Extra {
        Extra::None
    }
}
