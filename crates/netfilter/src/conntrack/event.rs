//! What happened to connections and expectations, for those who listen (`nf_conntrack_ecache.c`).

use std::collections::VecDeque;

use super::list::{ExpectRecord, Record};
use super::{ConnId, Conntrack, Expectation};

/// What changed of a connection (`enum ip_conntrack_events`, the kernel's bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Changes(pub u16);

impl Changes {
    /// It is new.
    pub const NEW: u16 = 1 << 0;
    /// It is new, and was expected.
    pub const RELATED: u16 = 1 << 1;
    /// It is gone.
    pub const DESTROY: u16 = 1 << 2;
    /// It was answered.
    pub const REPLY: u16 = 1 << 3;
    /// It became ASSURED.
    pub const ASSURED: u16 = 1 << 4;
    /// Its protocol's state.
    pub const PROTOINFO: u16 = 1 << 5;
    /// Its helper.
    pub const HELPER: u16 = 1 << 6;
    /// Its mark.
    pub const MARK: u16 = 1 << 7;
    /// How its sequence numbers are moved.
    pub const SEQADJ: u16 = 1 << 8;
    /// Its labels.
    pub const LABEL: u16 = 1 << 10;

    /// Whether any of `bits` is set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}

/// Kinds of events to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventMask(pub u8);

impl EventMask {
    /// New connections.
    pub const NEW: EventMask = EventMask(1);
    /// Changes of connections.
    pub const UPDATE: EventMask = EventMask(2);
    /// Ends of connections.
    pub const DESTROY: EventMask = EventMask(4);
    /// New expectations.
    pub const EXPECT_NEW: EventMask = EventMask(8);
    /// Ends of expectations.
    pub const EXPECT_DESTROY: EventMask = EventMask(16);
    /// Everything.
    pub const ALL: EventMask = EventMask(31);
    /// Nothing.
    pub const NONE: EventMask = EventMask(0);

    /// Whether any kind is in both.
    pub const fn has(self, kinds: EventMask) -> bool {
        self.0 & kinds.0 != 0
    }

    /// Both together.
    pub const fn or(self, other: EventMask) -> EventMask {
        EventMask(self.0 | other.0)
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It entered the table.
    New,
    /// It changed.
    Update,
    /// It left the table.
    Destroy,
}

/// What became of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectChange {
    /// It was made.
    New,
    /// It was met, has expired or was removed.
    Destroy,
}

/// Something that happened. It shows what was the case then.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// To a connection.
    Connection {
        /// What.
        change: Change,
        /// In detail.
        changes: Changes,
        /// The connection.
        record: Box<Record>,
    },
    /// To an expectation.
    Expectation {
        /// What.
        change: ExpectChange,
        /// The expectation.
        record: Box<ExpectRecord>,
    },
}

/// Events that wait to be fetched.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) mask: EventMask,
    queue: VecDeque<Event>,
    capacity: usize,
    lost: u64,
}

impl Events {
    fn push(&mut self, event: Event) {
        if self.queue.len() < self.capacity {
            self.queue.push_back(event);
        } else {
            self.lost += 1;
        }
    }
}

impl Conntrack {
    /// From now on events of these kinds are kept until they are fetched, at most `capacity` at a time. Nothing is kept, and
    /// nothing costs time, as long as nobody listens.
    pub fn listen(&mut self, mask: EventMask, capacity: usize) {
        self.events.mask = if capacity == 0 { EventMask::NONE } else { mask };
        self.events.capacity = capacity;
        self.events.queue.truncate(capacity);
    }

    /// The oldest event that was not fetched.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.queue.pop_front()
    }

    /// Events that were lost because the queue was full.
    pub const fn lost_events(&self) -> u64 {
        self.events.lost
    }

    /// Notes a change made through [`Conntrack::get_mut`] (a mark, labels, a helper), to be told when the packet that caused it
    /// has passed its last hook.
    pub fn note_change(&mut self, id: ConnId, changes: Changes) {
        if self.events.mask.has(EventMask::NEW.or(EventMask::UPDATE))
            && let Some(entry) = self.slab.get_mut(id)
        {
            entry.pending |= changes.0;
        }
    }

    /// Tells of the changes noted for a connection (`nf_ct_deliver_cached_events`).
    pub(super) fn report_changes(&mut self, id: ConnId) {
        let Some(entry) = self.slab.get_mut(id) else {
            return;
        };
        let changes = Changes(std::mem::take(&mut entry.pending));
        if changes.0 == 0 || entry.conn.status.has(super::Status::DYING) {
            return;
        }
        let (change, kind) = if changes.has(Changes::NEW | Changes::RELATED) {
            (Change::New, EventMask::NEW)
        } else {
            (Change::Update, EventMask::UPDATE)
        };
        self.report(id.index, change, changes, kind);
    }

    /// Tells that a connection leaves the table.
    pub(super) fn report_destroy(&mut self, index: u32) {
        // Nobody was told of the loser of a clash.
        let known = |entry: &super::slab::Entry| !entry.conn.status.has(super::Status::NAT_CLASH);
        if self.slab.entry(index).is_some_and(known) {
            self.report(index, Change::Destroy, Changes(Changes::DESTROY), EventMask::DESTROY);
        }
    }

    fn report(&mut self, index: u32, change: Change, changes: Changes, kind: EventMask) {
        if !self.events.mask.has(kind) {
            return;
        }
        let Some(entry) = self.slab.entry(index) else {
            return;
        };
        let wanted = entry.conn.extra.as_ref().and_then(|extra| extra.events);
        if wanted.is_some_and(|wanted| wanted & u32::from(changes.0) == 0) {
            return;
        }
        let record = Box::new(self.record(&entry.conn));
        self.events.push(Event::Connection { change, changes, record });
    }

    pub(super) fn report_expectation(&mut self, index: u32, change: ExpectChange) {
        let (kind, bit) = match change {
            ExpectChange::New => (EventMask::EXPECT_NEW, 1),
            ExpectChange::Destroy => (EventMask::EXPECT_DESTROY, 2),
        };
        if !self.events.mask.has(kind) {
            return;
        }
        let Some(expectation) = self.expectation_at(index) else {
            return;
        };
        let master = self.get(expectation.master).and_then(|conn| conn.extra.as_ref());
        if master
            .and_then(|extra| extra.expect_events)
            .is_some_and(|wanted| wanted & bit == 0)
        {
            return;
        }
        let record = Box::new(self.expect_record(expectation));
        self.events.push(Event::Expectation { change, record });
    }

    fn expectation_at(&self, index: u32) -> Option<&Expectation> {
        self.expectations.at(index)
    }
}
