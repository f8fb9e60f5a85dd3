//! A port's way out: disciplines, and the classes that addresses belong to.

mod classes;
mod packet;

use std::collections::BTreeMap;
use std::net::IpAddr;

use fielato_qdisc::{ApplyError, DropReason, Handle, Item, Path, Settings, Stats, Tree};
use ipnet::IpNet;

use crate::Buffer;
use classes::Classes;
pub(crate) use packet::EgressPacket;

/// Which of a packet's addresses chooses its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The destination: on the tunnel, where it is a member's.
    Destination,
    /// The source as it was before NAT: elsewhere.
    Source,
}

/// What is known of a packet beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Key {
    /// The source as it was before NAT; that in the packet when there is none.
    pub source: Option<IpAddr>,
    /// The priority so far (`CLASSIFY`); a class by address takes its place.
    pub priority: u32,
    /// The mark.
    pub mark: u32,
}

/// Everything that waits to leave by a port.
pub struct Egress {
    tree: Tree<EgressPacket>,
    settings: Settings,
    classes: Classes,
    side: Side,
    drops: [u64; DropReason::ALL.len()],
}

impl Egress {
    /// A way out without disciplines: one queue.
    pub fn new(side: Side, settings: Settings) -> Egress {
        Egress {
            tree: Tree::new(settings.clone()),
            settings,
            classes: Classes::default(),
            side,
            drops: [0; DropReason::ALL.len()],
        }
    }

    /// Takes other settings, if they are others: what waits is queued anew, and disciplines are to be applied again.
    pub(crate) fn renew(&mut self, settings: Settings, now: u64) {
        let same = Settings {
            seed: self.settings.seed,
            ..settings.clone()
        };
        if same == self.settings {
            return;
        }
        let mut old = std::mem::replace(&mut self.tree, Tree::new(settings.clone()));
        self.settings = settings;
        // Without disciplines nothing is held back.
        let drops = &mut self.drops;
        let _ = old.apply(&[], now);
        while let Some(packet) = old.dequeue(now, &mut |_, reason| count(drops, reason)) {
            self.tree.enqueue(packet, now, &mut |_, reason| count(drops, reason));
        }
    }

    /// Makes the disciplines and classes exactly these, or leaves everything as it is. What stays the same keeps its queue. `now`
    /// is in nanoseconds of the monotonic clock, as everywhere here.
    ///
    /// # Errors
    /// What the disciplines can't be.
    pub fn apply(&mut self, items: &[Item], classes: &BTreeMap<IpNet, Handle>, now: u64) -> Result<(), ApplyError> {
        self.tree.apply(items, now)?;
        self.classes = Classes::new(classes);
        Ok(())
    }

    /// Queues a packet, which begins with its IP header. What is dropped for it is counted.
    pub fn enqueue(&mut self, buffer: Buffer, key: Key, now: u64) {
        let packet = self.packet(buffer, key);
        self.enqueue_packet(packet, now);
    }

    /// The same; says why the packet was dropped, if it was: then no more wait than before.
    pub(crate) fn enqueue_packet(&mut self, packet: EgressPacket, now: u64) -> Option<DropReason> {
        let drops = &mut self.drops;
        let before = self.tree.len();
        let mut dropped = None;
        self.tree.enqueue(packet, now, &mut |_, reason| {
            dropped = Some(reason);
            count(drops, reason);
        });
        dropped.filter(|_| self.tree.len() <= before)
    }

    /// The packet with the priority that its class gives it.
    pub(crate) fn packet(&self, buffer: Buffer, key: Key) -> EgressPacket {
        let class = match self.classes.is_empty() {
            true => None,
            false => self.address(&buffer, &key).and_then(|address| self.classes.lookup(address)),
        };
        let priority = class.map_or(key.priority, |class| u32::from(class.major) << 16 | u32::from(class.minor));
        EgressPacket {
            buffer,
            priority,
            mark: key.mark,
            next_hop: None,
            source: key.source,
        }
    }

    fn address(&self, buffer: &Buffer, key: &Key) -> Option<IpAddr> {
        match (self.side, key.source) {
            (Side::Source, Some(source)) => Some(source),
            (side, _) => packet::address(&buffer.data, side),
        }
    }

    /// The next packet that may leave now. Asked until there is none.
    pub fn dequeue(&mut self, now: u64) -> Option<Buffer> {
        self.dequeue_packet(now).map(|packet| packet.buffer)
    }

    pub(crate) fn dequeue_packet(&mut self, now: u64) -> Option<EgressPacket> {
        let drops = &mut self.drops;
        self.tree.dequeue(now, &mut |_, reason| count(drops, reason))
    }

    /// When [`Egress::dequeue`] has something again; none when nothing waits.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.tree.poll_timeout()
    }

    /// Where this packet would be queued. Changes nothing.
    pub fn class_of(&self, buffer: Buffer, key: Key) -> Path {
        self.tree.class_of(&self.packet(buffer, key))
    }

    pub(crate) fn path_of(&self, packet: &EgressPacket) -> Path {
        self.tree.class_of(packet)
    }

    /// Counts of every discipline and class, as `tc -s` shows them.
    pub fn stats(&self) -> Vec<Stats> {
        self.tree.stats()
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Packets dropped since the beginning, by reason; those that occurred.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let all = DropReason::ALL.iter().zip(&self.drops);
        all.filter(|(_, count)| **count > 0).map(|(reason, count)| (*reason, *count))
    }
}

fn count(drops: &mut [u64; DropReason::ALL.len()], reason: DropReason) {
    if let Some(place) = DropReason::ALL.iter().position(|known| *known == reason)
        && let Some(count) = drops.get_mut(place)
    {
        *count += 1;
    }
}
