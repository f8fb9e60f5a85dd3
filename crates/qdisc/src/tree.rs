//! Everything on one interface's way out.

use std::collections::VecDeque;

use crate::apply::{ApplyError, Builder, BuilderState, Wanted};
use crate::charge::Charge;
use crate::discipline::{Arrival, Dequeued, Environment, Node, Queued};
use crate::drop::DropReason;
use crate::item::Item;
use crate::packet::Packet;
use crate::spec::{Handle, HostFairness};
use crate::stats::Stats;

/// Where a packet would be queued: disciplines and classes from the root down.
pub type Path = Vec<Handle>;

/// What a tree must know about its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Packets that wait where a discipline gives no limit (`ip link set DEV txqueuelen N`).
    pub txqueuelen: u32,
    /// The interface's MTU, bytes.
    pub mtu: u32,
    /// Bytes of the link's own header that are charged for each packet: 14 for Ethernet, 0 for a tunnel.
    pub link_header: u16,
    /// Where randomness begins.
    pub seed: u64,
    /// What `fq_codel` takes for a host unless told: who receives towards members, who sends towards a network.
    pub hosts: HostFairness,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            txqueuelen: 1000,
            mtu: 1500,
            link_header: 0,
            seed: 0,
            hosts: HostFairness::default(),
        }
    }
}

/// The disciplines on one interface's way out, and what waits in them.
///
/// Without disciplines it is one queue of `txqueuelen` packets at unlimited rate. Time is in nanoseconds from any fixed
/// point; a time before one that was given already counts as that.
///
/// ```
/// # use fielato_qdisc::{Item, Packet, Settings, Tree, qdisc};
/// # struct Bytes(Vec<u8>);
/// # impl Packet for Bytes {
/// #     fn bytes(&self) -> &[u8] { &self.0 }
/// #     fn bytes_mut(&mut self) -> &mut [u8] { &mut self.0 }
/// #     fn segment_size(&self) -> u16 { 0 }
/// #     fn split(self, each: &mut dyn FnMut(Self)) { each(self) }
/// #     fn duplicate(&self) -> Self { Bytes(self.0.clone()) }
/// #     fn priority(&self) -> u32 { 0 }
/// #     fn mark(&self) -> u32 { 0 }
/// # }
/// let mut tree = Tree::new(Settings::default());
/// let tbf = qdisc("root tbf rate 8mbit burst 1500 latency 1s").unwrap();
/// tree.apply(&[Item::Qdisc(tbf)], 0).unwrap();
/// for _ in 0..2 {
///     tree.enqueue(Bytes(vec![0x45; 1000]), 0, &mut |_, reason| panic!("{reason:?}"));
/// }
/// assert!(tree.dequeue(0, &mut |_, _| {}).is_some());
/// assert!(tree.dequeue(0, &mut |_, _| {}).is_none());
/// assert_eq!(tree.poll_timeout(), Some(500_000), "when 500 more bytes are allowed");
/// ```
pub struct Tree<P: Packet> {
    settings: Settings,
    building: BuilderState,
    root: Node<P>,
    /// What waited in disciplines that are no more, to be queued anew.
    displaced: VecDeque<Queued<P>>,
    now: u64,
    /// When dequeuing is worth another try.
    next: Option<u64>,
}

impl<P: Packet> Tree<P> {
    /// A tree without disciplines.
    pub fn new(settings: Settings) -> Self {
        let mut building = BuilderState::new(settings.seed);
        let environment = environment(&settings, 0);
        let root = Builder::new(Wanted::default(), environment, &mut building).root(None);
        Tree {
            settings,
            building,
            root,
            displaced: VecDeque::new(),
            now: 0,
            next: None,
        }
    }

    /// Makes the tree exactly what `items` say, in any order; nothing of it, if there is an error. A discipline of the same kind
    /// and handle at the same place keeps its queue and its counters and takes the new parameters; what waits in others is
    /// queued anew.
    pub fn apply(&mut self, items: &[Item], now: u64) -> Result<(), ApplyError> {
        let wanted = Wanted::new(items)?;
        self.now = self.now.max(now);
        let environment = environment(&self.settings, self.now);
        let empty = Builder::new(Wanted::default(), environment.clone(), &mut self.building).root(None);
        let old = std::mem::replace(&mut self.root, empty);
        let mut builder = Builder::new(wanted, environment, &mut self.building);
        self.root = builder.root(Some(old));
        self.displaced.extend(builder.displaced);
        if !self.is_empty() {
            self.next = Some(self.now);
        }
        Ok(())
    }

    /// Queues a packet. What is dropped for it, the packet itself or others, goes to `dropped`.
    pub fn enqueue(&mut self, packet: P, now: u64, dropped: &mut dyn FnMut(P, DropReason)) {
        self.now = self.now.max(now);
        self.place_displaced(dropped);
        self.place(packet, dropped);
        if self.root.counters.backlog.packets > 0 {
            self.next = Some(self.now);
        }
    }

    /// The next packet to send now, if any. Asked until it gives nothing; then [`Tree::poll_timeout`] says when to ask again.
    pub fn dequeue(&mut self, now: u64, dropped: &mut dyn FnMut(P, DropReason)) -> Option<P> {
        self.now = self.now.max(now);
        self.place_displaced(dropped);
        match self.root.dequeue(self.now, self.charge(), dropped) {
            Dequeued::Packet(queued) => {
                self.next = (self.root.counters.backlog.packets > 0).then_some(self.now);
                Some(queued.packet)
            }
            Dequeued::Empty => {
                self.next = None;
                None
            }
            Dequeued::NotBefore(time) => {
                self.next = Some(time.max(self.now.saturating_add(1)));
                None
            }
        }
    }

    /// When [`Tree::dequeue`] may have something: a time that has passed while packets may go, `None` when nothing waits.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.next
    }

    /// Where the packet would be queued. Changes nothing.
    pub fn class_of(&self, packet: &P) -> Path {
        let mut path = Path::new();
        self.root.class_of(packet, &Arrival::default(), &mut path);
        path
    }

    /// The counts of every discipline and class, from the root down.
    pub fn stats(&self) -> Vec<Stats> {
        let mut stats = Vec::new();
        self.root.stats(&mut stats);
        stats
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.root.counters.backlog.packets as usize + self.displaced.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait, as charged.
    pub fn backlog_bytes(&self) -> u64 {
        self.root.counters.backlog.bytes + self.displaced.iter().map(|queued| u64::from(queued.bytes)).sum::<u64>()
    }

    fn charge(&self) -> Charge {
        Charge {
            link_header: self.settings.link_header,
            mtu: self.settings.mtu,
            stab: None,
        }
    }

    fn place_displaced(&mut self, dropped: &mut dyn FnMut(P, DropReason)) {
        while let Some(Queued { packet, .. }) = self.displaced.pop_front() {
            self.place(packet, dropped);
        }
    }

    fn place(&mut self, packet: P, dropped: &mut dyn FnMut(P, DropReason)) {
        let arrival = Arrival::default();
        let charge = self.charge();
        let cost = charge.of(&packet, || arrival.headers(&packet).copied());
        let queued = Queued {
            packet,
            bytes: cost.bytes,
            segments: cost.segments,
        };
        self.root.enqueue(queued, &arrival, self.now, charge, dropped);
    }
}

fn environment(settings: &Settings, now: u64) -> Environment {
    Environment {
        txqueuelen: settings.txqueuelen,
        mtu: settings.mtu.saturating_add(settings.link_header.into()),
        seed: 0,
        now,
        hosts: settings.hosts,
    }
}
