//! htb: a hierarchy of token buckets that lend to each other (`net/sched/sch_htb.c`).
//!
//! A class below its rate sends by right; one above its rate but below its ceiling borrows from the closest ancestor that is below its
//! own. Classes that may send stand in the rounds of their level (`rows`), those that borrow in the rounds of their parents (`feeds`);
//! those that wait have an alarm.

mod class;
mod round;

use std::collections::{HashMap, VecDeque};

use class::{Class, LEVELS, Leaf, Mode, PRIOS};
use round::Round;

use super::{Arrival, Context, Dequeued, Discipline, Environment, Queued};
use crate::alarms::Alarms;
use crate::apply::Builder;
use crate::drop::DropReason;
use crate::filter::Filters;
use crate::packet::Packet;
use crate::rate::{after, lateness};
use crate::spec::{self, Handle, Parent, QdiscKind};
use crate::stats::{Amount, Extra, HtbDirect, Stats};

/// Alarms handled, and classes tried, in one call.
const BUDGET: usize = 256;

/// No class.
const NONE: u32 = u32::MAX;

/// The classes that may send by right, of one level.
#[derive(Default)]
struct Row {
    /// For each priority, by the classes' numbers.
    rounds: [Round; PRIOS],
    /// The priorities, as bits, whose round is not empty.
    mask: u8,
}

pub(crate) struct Htb<P: Packet> {
    handle: Handle,
    default: u16,
    r2q: u32,
    filters: Filters,
    /// Parents stand before their children, and children of one parent next to each other in the order of their identifiers.
    classes: Vec<Class<P>>,
    /// The class of each minor number.
    by_minor: Vec<u32>,
    rows: [Row; LEVELS],
    /// When a class may do more than now.
    alarms: Alarms,
    /// When a class whose queue holds its packets back has something again.
    sleepers: Alarms,
    /// Packets of no class.
    direct: VecDeque<Queued<P>>,
    direct_limit: usize,
    direct_packets: u64,
}

/// Where a packet goes.
enum Target {
    Class(u32),
    Direct,
}

impl<P: Packet> Htb<P> {
    pub fn new(kind: &QdiscKind, environment: &Environment) -> Self {
        let mut htb = Htb {
            handle: Handle::default(),
            default: 0,
            r2q: 1,
            filters: Filters::default(),
            classes: Vec::new(),
            by_minor: Vec::new(),
            rows: Default::default(),
            alarms: Alarms::default(),
            sleepers: Alarms::default(),
            direct: VecDeque::new(),
            direct_limit: 0,
            direct_packets: 0,
        };
        htb.change(kind, environment);
        htb
    }

    fn find(&self, id: Handle) -> Option<u32> {
        let class = *self.by_minor.get(usize::from(id.minor))?;
        (id.major == self.handle.major && class != NONE).then_some(class)
    }

    /// `htb_classify`
    fn classify(&self, packet: &P, arrival: &Arrival) -> Target {
        let priority = Handle {
            major: (packet.priority() >> 16) as u16,
            minor: packet.priority() as u16,
        };
        if priority == self.handle {
            return Target::Direct;
        }
        let is_leaf = |class: u32| self.classes[class as usize].leaf.is_some();
        let mut filters = &self.filters;
        if let Some(class) = self.find(priority) {
            if is_leaf(class) {
                return Target::Class(class);
            }
            // An inner class asks its own filters.
            filters = &self.classes[class as usize].filters;
        }
        // Filters of inner classes may choose other inner classes, but not round and round.
        for _ in 0..LEVELS {
            let Some(id) = filters.classify(packet, arrival, self.handle) else {
                break;
            };
            if id == self.handle {
                return Target::Direct;
            }
            match self.find(id) {
                Some(class) if is_leaf(class) => return Target::Class(class),
                Some(class) => filters = &self.classes[class as usize].filters,
                None => break,
            }
        }
        let default = Handle {
            minor: self.default,
            ..self.handle
        };
        match self.find(default).filter(|class| is_leaf(*class)) {
            Some(class) => Target::Class(class),
            None => Target::Direct,
        }
    }

    /// Puts a class that may send into its row, or one that borrows, and ancestors that borrow for it, into their parents' feeds
    /// (`htb_activate_prios`).
    fn activate_prios(&mut self, class: u32) {
        let count = self.classes.len() as u32;
        let mut index = class;
        let mut mask = self.classes[index as usize].activity;
        loop {
            let this = &self.classes[index as usize];
            if mask == 0 {
                return;
            }
            match (this.mode, this.parent) {
                (Mode::MayBorrow, Some(parent)) => {
                    let above = &mut self.classes[parent as usize];
                    let mut new = 0;
                    for prio in bits(mask) {
                        if above.feeds[prio].is_empty() {
                            new |= 1 << prio;
                        }
                        above.feeds[prio].insert(index - above.first_child, above.children);
                    }
                    above.activity |= new;
                    (index, mask) = (parent, new);
                }
                (Mode::CanSend, _) => {
                    let row = &mut self.rows[this.level];
                    row.mask |= mask;
                    for prio in bits(mask) {
                        row.rounds[prio].insert(index, count);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// The reverse; the class still has the mode it was activated with (`htb_deactivate_prios`).
    fn deactivate_prios(&mut self, class: u32) {
        let mut index = class;
        let mut mask = self.classes[index as usize].activity;
        loop {
            let this = &self.classes[index as usize];
            if mask == 0 {
                return;
            }
            match (this.mode, this.parent) {
                (Mode::MayBorrow, Some(parent)) => {
                    let above = &mut self.classes[parent as usize];
                    let mut emptied = 0;
                    for prio in bits(mask) {
                        above.feeds[prio].remove(index - above.first_child);
                        if above.feeds[prio].is_empty() {
                            emptied |= 1 << prio;
                        }
                    }
                    // The parent leaves its own place before it forgets that it was there.
                    (index, mask) = (parent, emptied);
                    self.classes[parent as usize].activity &= !emptied;
                }
                (Mode::CanSend, _) => {
                    let row = &mut self.rows[this.level];
                    for prio in bits(mask) {
                        row.rounds[prio].remove(index);
                        if row.rounds[prio].is_empty() {
                            row.mask &= !(1 << prio);
                        }
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// A leaf has packets.
    fn activate(&mut self, class: u32) {
        let this = &mut self.classes[class as usize];
        if this.activity == 0 {
            this.activity = 1 << this.prio();
            self.activate_prios(class);
        }
    }

    /// A leaf has none, or none yet.
    fn deactivate(&mut self, class: u32) {
        self.deactivate_prios(class);
        let this = &mut self.classes[class as usize];
        this.activity = 0;
        if !this.has_packets() {
            this.settle();
        }
    }

    /// Brings a class's mode up to date, and its alarm (`htb_change_class_mode`).
    fn update_mode(&mut self, class: u32, now: u64, own: &mut u64) {
        let this = &mut self.classes[class as usize];
        let (mode, wait) = this.mode_at(now);
        if mode != this.mode {
            if mode == Mode::CantSend {
                this.counters.overlimits += 1;
                *own += 1;
            }
            let active = this.activity != 0;
            if active {
                self.deactivate_prios(class);
            }
            self.classes[class as usize].mode = mode;
            if active {
                self.activate_prios(class);
            }
        }
        match mode {
            Mode::CanSend => self.alarms.cancel(class),
            // At least one ns, as `htb_add_to_wait_tree` has it.
            _ => self.alarms.set(class, after(now, wait).max(now.saturating_add(1))),
        }
    }

    /// Lets classes do what their time has come for. Gives whether all that was due is done.
    fn handle_alarms(&mut self, now: u64, overlimits: &mut u64) -> bool {
        for _ in 0..BUDGET {
            match self.alarms.first() {
                Some((time, class)) if time <= now => {
                    let this = &mut self.classes[class as usize];
                    // Whoever has packets must not lose what it would have sent while the caller slept on.
                    let late = match this.activity {
                        0 => 0,
                        _ => lateness(now, time),
                    };
                    this.refill(now, late);
                    self.update_mode(class, now, overlimits);
                }
                _ => match self.sleepers.first() {
                    Some((time, class)) if time <= now => {
                        self.sleepers.cancel(class);
                        if self.classes[class as usize].has_packets() {
                            self.activate(class);
                        }
                    }
                    _ => return true,
                },
            }
        }
        false
    }

    /// The leaf whose turn it is in a row (`htb_lookup_leaf`); `None` when a round ended on the way and it is to be asked again.
    fn lookup_leaf(&mut self, level: usize, prio: usize) -> Option<u32> {
        let mut index = self.rows[level].rounds[prio].turn()?;
        for _ in 0..LEVELS {
            let class = &mut self.classes[index as usize];
            if class.leaf.is_some() {
                return Some(index);
            }
            index = match class.feeds[prio].turn() {
                Some(child) => class.first_child + child,
                None => {
                    self.end_turn(index, prio);
                    return None;
                }
            };
        }
        None
    }

    /// A class has had its turn.
    fn end_turn(&mut self, index: u32, prio: usize) {
        let class = &self.classes[index as usize];
        match (class.mode, class.parent) {
            (Mode::CanSend, _) => self.rows[class.level].rounds[prio].pass(index),
            (Mode::MayBorrow, Some(parent)) => {
                let above = &mut self.classes[parent as usize];
                above.feeds[prio].pass(index - above.first_child);
            }
            _ => {}
        }
    }

    /// A packet from the classes of one row and priority (`htb_dequeue_tree`).
    fn dequeue_row(&mut self, level: usize, prio: usize, budget: &mut usize, cx: &mut Context<'_, P>) -> Option<Queued<P>> {
        // Turns passed over because of debts: superpackets may exceed many quanta, but nobody waits for ever.
        let mut passed_over = 0;
        while self.rows[level].mask & (1 << prio) != 0 && *budget > 0 {
            *budget -= 1;
            let Some(index) = self.lookup_leaf(level, prio) else {
                continue;
            };
            let class = &mut self.classes[index as usize];
            let quantum = class.quantum;
            let leaf = class.leaf.as_mut()?;
            if leaf.deficit[level] < 0 && passed_over < 64 {
                leaf.deficit[level] += quantum;
                passed_over += 1;
                self.end_turn(index, prio);
                continue;
            }
            match cx.dequeue(&mut leaf.node) {
                Dequeued::Packet(queued) => {
                    leaf.deficit[level] -= i64::from(queued.bytes);
                    if leaf.deficit[level] < 0 {
                        leaf.deficit[level] = (leaf.deficit[level] + quantum).max(-64 * quantum);
                        self.end_turn(index, prio);
                    }
                    if !self.classes[index as usize].has_packets() {
                        self.deactivate(index);
                    }
                    self.charge(index, level, &queued, cx);
                    return Some(queued);
                }
                Dequeued::Empty => self.deactivate(index),
                Dequeued::NotBefore(time) => {
                    self.deactivate(index);
                    self.sleepers.set(index, time);
                }
            }
        }
        None
    }

    /// Charges a packet to its leaf and all above it (`htb_charge_class`).
    fn charge(&mut self, leaf: u32, level: usize, queued: &Queued<P>, cx: &mut Context<'_, P>) {
        let mut next = Some(leaf);
        while let Some(index) = next {
            let class = &mut self.classes[index as usize];
            class.refill(cx.now, 0);
            let borrowed = class.level < level;
            match borrowed {
                true => class.borrowed += 1,
                false if class.level == level => class.lent += 1,
                false => {}
            }
            class.charge(queued.bytes, borrowed);
            class.counters.sent.packets += u64::from(queued.segments);
            class.counters.sent.bytes += u64::from(queued.bytes);
            next = class.parent;
            self.update_mode(index, cx.now, &mut cx.counters.overlimits);
        }
    }
}

impl<P: Packet> Htb<P> {
    /// Adds the classes below a class, or below the discipline itself.
    fn add_children(&mut self, id: Handle, parent: Option<u32>, below: &mut HashMap<Handle, Vec<&spec::Class>>, now: u64) {
        let mut children = below.remove(&id).unwrap_or_default();
        children.sort_by_key(|class| class.classid);
        let first = self.classes.len() as u32;
        let level = match parent {
            None => LEVELS - 1,
            Some(parent) => {
                let parent = &mut self.classes[parent as usize];
                (parent.first_child, parent.children) = (first, children.len() as u32);
                parent.level.saturating_sub(1)
            }
        };
        for class in children {
            if let Some(place) = self.by_minor.get_mut(usize::from(class.classid.minor)) {
                *place = self.classes.len() as u32;
            }
            self.classes.push(Class::new(class, parent, level, self.r2q, now));
        }
    }
}

/// The numbers of the bits that are set.
fn bits(mut mask: u8) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit
        })
    })
}

impl<P: Packet> Discipline<P> for Htb<P> {
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>) {
        let index = match self.classify(&queued.packet, arrival) {
            Target::Class(index) => index,
            Target::Direct if self.direct.len() < self.direct_limit => {
                self.direct_packets += 1;
                return self.direct.push_back(queued);
            }
            Target::Direct => return cx.drop(queued, DropReason::Overlimit),
        };
        let class = &mut self.classes[index as usize];
        let Some(leaf) = &mut class.leaf else {
            return cx.drop(queued, DropReason::NoClass);
        };
        let dropped = cx.counters.dropped;
        cx.enqueue(&mut leaf.node, queued, arrival);
        class.counters.dropped += cx.counters.dropped - dropped;
        if class.has_packets() {
            self.sleepers.cancel(index);
            self.activate(index);
        }
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        // Direct packets go before all others, as in `htb_dequeue`.
        if let Some(queued) = self.direct.pop_front() {
            return Dequeued::Packet(queued);
        }
        let done = self.handle_alarms(cx.now, &mut cx.counters.overlimits);
        let mut budget = BUDGET;
        for level in 0..LEVELS {
            for prio in bits(self.rows[level].mask) {
                if let Some(queued) = self.dequeue_row(level, prio, &mut budget, cx) {
                    return Dequeued::Packet(queued);
                }
            }
        }
        if !done || budget == 0 {
            return Dequeued::NotBefore(cx.now);
        }
        let alarm = self.alarms.first().map(|(time, _)| time);
        let sleeper = self.sleepers.first().map(|(time, _)| time);
        match alarm.into_iter().chain(sleeper).min() {
            Some(time) => Dequeued::NotBefore(time),
            None => Dequeued::Empty,
        }
    }

    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        let &QdiscKind::Htb { default, r2q } = kind else { return };
        self.default = default;
        self.r2q = r2q;
        // `htb_init`: some devices have no queue.
        self.direct_limit = environment.txqueuelen.max(2) as usize;
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.direct.drain(..));
        for class in &mut self.classes {
            if let Some(leaf) = &mut class.leaf {
                leaf.node.drain(into);
            }
        }
    }

    fn reshape(&mut self, handle: Handle, builder: &mut Builder<'_, P>) -> Option<Amount> {
        self.handle = handle;
        self.filters = builder.filters(handle);
        let now = builder.environment().now;
        let mut old: HashMap<Handle, Class<P>> = self.classes.drain(..).map(|class| (class.id, class)).collect();
        let mut below: HashMap<Handle, Vec<&spec::Class>> = HashMap::new();
        let mut width = 0;
        for class in builder.classes(handle.major) {
            below.entry(class.parent).or_default().push(class);
            width = width.max(usize::from(class.classid.minor) + 1);
        }
        self.by_minor = vec![NONE; width];
        self.add_children(handle, None, &mut below, now);
        let mut next = 0;
        while let Some(class) = self.classes.get(next) {
            self.add_children(class.id, Some(next as u32), &mut below, now);
            next += 1;
        }
        for class in &mut self.classes {
            let mut before = old.remove(&class.id);
            if let Some(before) = &mut before {
                class.inherit(before);
            }
            let queue = before.and_then(|before| before.leaf).map(|leaf| leaf.node);
            if class.children == 0 {
                class.level = 0;
                class.leaf = Some(Leaf {
                    node: builder.child(class.id, queue, &QdiscKind::Pfifo { limit: None }),
                    deficit: [0; LEVELS],
                });
            } else {
                class.filters = builder.filters(class.id);
                if let Some(queue) = queue {
                    builder.remove(queue);
                }
            }
        }
        for class in old.into_values() {
            if let Some(leaf) = class.leaf {
                builder.remove(leaf.node);
            }
        }
        let count = self.classes.len();
        self.rows = Default::default();
        self.alarms = Alarms::new(count);
        self.sleepers = Alarms::new(count);
        let mut waiting = Amount::default();
        for queued in &self.direct {
            waiting.packets += 1;
            waiting.bytes += u64::from(queued.bytes);
        }
        for index in 0..count as u32 {
            self.update_mode(index, now, &mut 0);
        }
        for index in 0..count as u32 {
            if let Some(leaf) = &self.classes[index as usize].leaf {
                waiting.packets += leaf.node.counters.backlog.packets;
                waiting.bytes += leaf.node.counters.backlog.bytes;
                if leaf.node.counters.backlog.packets > 0 {
                    self.activate(index);
                }
            }
        }
        Some(waiting)
    }

    fn class_of(&self, packet: &P, arrival: &Arrival, path: &mut Vec<Handle>) {
        if let Target::Class(index) = self.classify(packet, arrival) {
            let class = &self.classes[index as usize];
            path.push(class.id);
            if let Some(leaf) = &class.leaf {
                leaf.node.class_of(packet, arrival, path);
            }
        }
    }

    fn stats_below(&self, _: Handle, out: &mut Vec<Stats>) {
        for class in &self.classes {
            let mut counters = class.counters.clone();
            if let Some(leaf) = &class.leaf {
                counters.backlog = leaf.node.counters.backlog;
            }
            let parent = class.parent.map_or(self.handle, |parent| self.classes[parent as usize].id);
            let extra = Extra::Htb(class.counts());
            let stats = Stats::new(class.id, Parent::Class(parent), class.shape(), &counters, extra);
            let leaf = class.leaf.as_ref().map_or(Handle::default(), |leaf| leaf.node.handle);
            out.push(stats.with_leaf(leaf));
            if let Some(leaf) = &class.leaf {
                leaf.node.stats(out);
            }
        }
    }

    fn extra(&self) -> Extra {
        Extra::HtbDirect(HtbDirect {
            direct_packets_stat: self.direct_packets,
        })
    }
}
