//! The table of connections.

use std::collections::BTreeMap;

use super::event::Events;
use super::expect::Expectations;
use super::extract::Trackers;
use super::index::Index;
use super::slab::{Entry, Phase, Slab, Sources};
use super::{Config, Conn, ConnId, Direction, HashKeys, Stats, Status, Tracker, Tuple, Zone, proto};
use crate::{Counters, Now, Packet};

/// How many connections of one source are looked at for a mapping.
const SOURCES_LOOKED_AT: usize = 64;
/// How many places of the list of connections to be dropped early are looked at for one.
const EARLY_DROP_LOOKS: usize = 8;
/// A connection that is still not confirmed after this time is forgotten: its packet was lost on the way.
const UNCONFIRMED_LIFETIME: u64 = 600 * Now::SECOND;

/// How many expectations are looked at for expired ones, at a time.
const EXPECTATIONS_LOOKED_AT: usize = 16;

/// Timeouts that `-j CT --timeout NAME` gives to connections of one protocol (`nfct timeout`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Transport protocol.
    pub protocol: u8,
    /// Seconds, in the order of the protocol's states (`CTA_TIMEOUT_*`).
    pub seconds: Vec<u32>,
}

/// All connections and expectations of one namespace.
#[derive(Debug)]
pub struct Conntrack {
    pub(super) config: Config,
    pub(super) keys: HashKeys,
    pub(super) slab: Slab,
    pub(super) index: Index,
    pub(super) sources: Sources,
    pub(super) expectations: Expectations,
    pub(super) trackers: Trackers,
    pub(super) policies: BTreeMap<String, TimeoutPolicy>,
    pub(super) events: Events,
    pub(super) stats: Stats,
    /// The latest moment that the table was told of.
    pub(super) now: Now,
    /// The place where the next search for expired connections begins.
    cursor: u32,
    /// A connection had a zone that counts in one direction only: others may have the same tuple in the same zone.
    pub(super) half_zones: bool,
    /// A packet was dropped because the table was full: the search takes connections too that are about to end.
    pub(super) pressed: bool,
    /// How often rules changed so that connections were to be judged again.
    pub(crate) round: u32,
}

impl Default for Conntrack {
    fn default() -> Conntrack {
        Conntrack::new(Config::default(), 0)
    }
}

/// A place in the index: the entry and the direction.
pub(super) const fn slot(index: u32, direction: Direction) -> u32 {
    index << 1 | direction as u32
}

pub(super) const fn slot_parts(slot: u32) -> (u32, Direction) {
    let direction = if slot & 1 == 0 {
        Direction::Original
    } else {
        Direction::Reply
    };
    (slot >> 1, direction)
}

/// Whether a connection may go when room is needed (`gc_worker_can_early_drop`).
const fn may_go(conn: &Conn) -> bool {
    !conn.status.has(Status::ASSURED) || proto::can_early_drop(&conn.proto)
}

pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Original, Direction::Reply];

impl Conntrack {
    /// An empty table. `seed` keys its hash: it must be secret, or whoever knows it chooses addresses and ports that collide.
    pub fn new(config: Config, seed: u64) -> Conntrack {
        Conntrack {
            config,
            keys: HashKeys::new(seed),
            slab: Slab::default(),
            index: Index::default(),
            sources: Sources::default(),
            expectations: Expectations::default(),
            trackers: Trackers::default(),
            policies: BTreeMap::new(),
            events: Events::default(),
            stats: Stats::default(),
            now: Now::default(),
            cursor: 0,
            half_zones: false,
            pressed: false,
            round: 0,
        }
    }

    /// Settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Settings, to be changed. A lower limit removes no connection; it only lets none in until enough have ended.
    pub const fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Counters of the whole.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections, those included that are not confirmed yet (`nf_conntrack_count`).
    pub const fn count(&self) -> u32 {
        self.slab.len()
    }

    /// Bytes that connections and their indexes take, without what few connections have ([`super::conn::Extra`]).
    pub fn memory(&self) -> usize {
        self.slab.memory() + self.index.memory() + self.sources.memory()
    }

    /// Registers a protocol, in place of the built-in one of its number.
    pub fn register_tracker(&mut self, tracker: Box<dyn Tracker>) {
        self.trackers.register(tracker);
    }

    /// Names timeouts for `-j CT --timeout`. Connections that exist keep theirs.
    pub fn set_timeout_policy(&mut self, name: impl Into<String>, policy: TimeoutPolicy) {
        self.policies.insert(name.into(), policy);
    }

    /// Forgets the timeouts of a name; `None` when there are none.
    pub fn remove_timeout_policy(&mut self, name: &str) -> Option<TimeoutPolicy> {
        self.policies.remove(name)
    }

    /// The timeouts of a name.
    pub fn timeout_policy(&self, name: &str) -> Option<&TimeoutPolicy> {
        self.policies.get(name)
    }

    pub(super) const fn trackers(&self) -> &Trackers {
        &self.trackers
    }

    /// The connection of a handle; `None` when it is gone.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slab.get(id).map(|entry| &entry.conn)
    }

    /// The same, to be changed. The tuples and the zone must stay as they are: see [`Conntrack::alter_reply`].
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slab.get_mut(id).map(|entry| &mut entry.conn)
    }

    /// The connection of a packet.
    pub fn of(&self, packet: &Packet) -> Option<&Conn> {
        match packet.ct {
            crate::PacketCt::Tracked { id, .. } => self.get(id),
            _ => None,
        }
    }

    /// The confirmed connection with this tuple, and in which direction it has it.
    pub fn lookup(&self, tuple: &Tuple, zone: Zone) -> Option<(ConnId, Direction)> {
        self.find(tuple, zone, |entry, _| self.is_alive(entry))
    }

    /// The first connection with this tuple that `accept` takes, living or dead.
    pub(super) fn find(
        &self,
        tuple: &Tuple,
        zone: Zone,
        mut accept: impl FnMut(&Entry, u32) -> bool,
    ) -> Option<(ConnId, Direction)> {
        let found = self.find_as(tuple, zone, Direction::Original, &mut accept);
        // A zone that counts in one direction only: the other direction's tuples are hashed with zone 0.
        if found.is_none() && zone.in_direction(Direction::Original) != zone.in_direction(Direction::Reply) {
            return self.find_as(tuple, zone, Direction::Reply, &mut accept);
        }
        found
    }

    /// The same among the tuples that are hashed with the number `zone` has in a direction. Where several have it, the latest
    /// comes first, as in the kernel's chains (`hlist_nulls_add_head_rcu`).
    pub(super) fn find_as(
        &self,
        tuple: &Tuple,
        zone: Zone,
        hashed: Direction,
        mut accept: impl FnMut(&Entry, u32) -> bool,
    ) -> Option<(ConnId, Direction)> {
        let number = zone.in_direction(hashed);
        let hash = self.keys.tuple(tuple, number);
        let is_it = |slot| {
            let (index, direction) = slot_parts(slot);
            self.slab.entry(index).is_some_and(|entry| {
                let own = entry.conn.zone;
                entry.conn.tuple(direction) == tuple
                    && own.in_direction(direction) == number
                    && number == zone.in_direction(direction)
                    && accept(entry, index)
            })
        };
        let slot = match self.half_zones {
            true => self.index.find_newest(hash, is_it),
            false => self.index.find(hash, is_it),
        }?;
        let (index, direction) = slot_parts(slot);
        let conn = &self.slab.entry(index)?.conn;
        // A packet from an address to itself is its own answer; the kernel's table has the answer first, where the zone is its.
        let is_reply = [conn.zone, zone].map(|zone| zone.in_direction(Direction::Reply)) == [number; 2];
        let itself = conn.tuples[0] == conn.tuples[1] && is_reply;
        Some((self.slab.id(index)?, if itself { Direction::Reply } else { direction }))
    }

    /// Whether a reply tuple is in use by another confirmed connection than `except` (`nf_conntrack_tuple_taken`).
    ///
    /// A connection with the same original tuple doesn't count: both are one flow, whose packets were on their way at once;
    /// [`Conntrack::confirm`] sorts that out.
    pub fn tuple_taken(&self, reply: &Tuple, zone: Zone, except: ConnId) -> bool {
        let own = self
            .get(except)
            .map(|conn| (conn.tuples[0], conn.zone.in_direction(Direction::Original)));
        let taken = self.find_as(reply, zone, Direction::Reply, |entry, index| {
            let original = (entry.conn.tuples[0], entry.conn.zone.in_direction(Direction::Original));
            index != except.index && self.is_alive(entry) && own != Some(original)
        });
        taken.is_some()
    }

    /// Gives a connection that is not confirmed another reply tuple (`nf_conntrack_alter_reply`). False, and nothing changes,
    /// when it is confirmed or gone.
    pub fn alter_reply(&mut self, id: ConnId, reply: Tuple) -> bool {
        match self.slab.get_mut(id) {
            Some(entry) if entry.phase == Phase::Unconfirmed => {
                entry.conn.tuples[Direction::Reply.index()] = reply;
                true
            }
            _ => false,
        }
    }

    /// Notes that source NAT was decided for a connection, so that [`Conntrack::mapped_source`] finds it.
    pub fn note_source(&mut self, id: ConnId) {
        if self.slab.get(id).is_some() {
            self.sources.insert(&mut self.slab, id.index, &self.keys, self.config.max);
        }
    }

    /// Connections noted by [`Conntrack::note_source`] whose original tuple has the same source and protocol, in this zone
    /// (`find_appropriate_src`); none that has been ended. Not more than the latest few are looked at.
    pub fn mapped_source(&self, original: &Tuple, zone: Zone) -> impl Iterator<Item = ConnId> {
        let number = zone.in_direction(Direction::Original);
        let wanted = *original;
        let mut at = self.sources.first(self.keys.source(original, number));
        let chain = std::iter::from_fn(move || {
            let entry = self.slab.entry(at)?;
            let index = std::mem::replace(&mut at, entry.source_next);
            Some((index, entry))
        });
        chain.take(SOURCES_LOOKED_AT).filter_map(move |(index, entry)| {
            let own = entry.conn.tuple(Direction::Original);
            let same = own.src == wanted.src
                && own.sport == wanted.sport
                && own.protocol == wanted.protocol
                && own.family == wanted.family
                && entry.conn.zone.in_direction(Direction::Original) == number
                // The kernel's connection would be gone with the packet that ended it.
                && !entry.conn.status.has(Status::DYING);
            same.then(|| self.slab.id(index)).flatten()
        })
    }

    /// Removes a connection at once, with its expectations. False when it is gone already.
    pub fn delete(&mut self, id: ConnId) -> bool {
        match self.slab.get(id).map(|entry| entry.phase) {
            Some(Phase::Confirmed) => self.destroy(id.index),
            // Its packet still holds it: it will not be confirmed.
            Some(Phase::Unconfirmed) => {
                if let Some(conn) = self.get_mut(id) {
                    conn.status.set(Status::DYING);
                }
            }
            Some(Phase::Free) | None => return false,
        }
        true
    }

    /// The connection that lives at a place of the table, if one does, or that there is no such place any more.
    pub(crate) fn at_place(&self, index: u32) -> Option<Option<ConnId>> {
        let alive = |entry: &Entry| self.is_alive(entry).then(|| self.slab.id(index)).flatten();
        self.slab.entry(index).map(alive)
    }

    /// Removes every connection that `wanted` says yes to; how many these were.
    pub fn delete_where(&mut self, mut wanted: impl FnMut(ConnId, &Conn) -> bool) -> usize {
        let mut deleted = 0;
        for index in 0..self.slab.places() {
            if let Some(id) = self.slab.id(index)
                && self.get(id).is_some_and(|conn| wanted(id, conn))
                && self.delete(id)
            {
                deleted += 1;
            }
        }
        deleted
    }

    /// A RST made here ends a TCP connection that is in the table: its state is CLOSE from now on
    /// (`nf_conntrack_tcp_set_closing`).
    pub(crate) fn set_closing(&mut self, id: ConnId, now: Now) {
        if let Some(entry) = self.slab.get_mut(id)
            && entry.phase == Phase::Confirmed
        {
            super::proto::close(&mut entry.conn, &self.config, now);
        }
    }

    /// Removes every connection (`conntrack -F`).
    pub fn flush(&mut self) {
        self.delete_where(|_, _| true);
    }

    /// Sets a connection's counters to zero; what they were (`conntrack -L -z`). `None` when it is gone.
    pub fn zero_counters(&mut self, id: ConnId) -> Option<[Counters; 2]> {
        self.get_mut(id).map(|conn| std::mem::take(&mut conn.counters))
    }

    /// All confirmed connections that live.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        (0..self.slab.places()).filter_map(|index| {
            let entry = self.slab.entry(index)?;
            let id = self.slab.id(index)?;
            self.is_alive(entry).then_some((id, &entry.conn))
        })
    }

    /// Removes what has expired, looking at no more than `budget` entries. The search goes on where it stopped: a call for each
    /// batch of packets with a few hundred entries finds everything within seconds. What has expired and not been found
    /// yet counts towards the limit, but no packet meets it.
    pub fn expire(&mut self, now: Now, budget: usize) {
        self.advance(now);
        self.expire_expectations(budget.min(EXPECTATIONS_LOOKED_AT));
        let places = self.slab.places();
        for _ in 0..budget.min(places as usize) {
            let index = self.cursor;
            self.cursor = if index + 1 < places { index + 1 } else { 0 };
            let pressed = self.is_pressed();
            let Some(entry) = self.slab.entry(index) else {
                continue;
            };
            match entry.phase {
                Phase::Confirmed if !self.is_alive(entry) => self.end_dead(index),
                Phase::Confirmed if pressed && may_go(&entry.conn) => {
                    self.stats.early_drop += 1;
                    self.destroy(index);
                }
                Phase::Unconfirmed if entry.born().saturating_add(UNCONFIRMED_LIFETIME) <= self.now.mono => self.destroy(index),
                _ => {}
            }
        }
    }

    /// Whether the table was found full and is still nearly so (`gc_worker`'s 95 of 100).
    fn is_pressed(&mut self) -> bool {
        self.pressed &= u64::from(self.count()) * 100 >= u64::from(self.config.max) * 95;
        self.pressed
    }

    /// Time does not go back.
    #[inline]
    pub(super) fn advance(&mut self, now: Now) {
        if now.mono >= self.now.mono {
            self.now = now;
        }
    }

    /// Whether a connection is in the table and has neither expired nor been doomed.
    #[inline]
    pub(super) const fn is_alive(&self, entry: &Entry) -> bool {
        matches!(entry.phase, Phase::Confirmed) && entry.conn.deadline > self.now.mono && !entry.conn.status.has(Status::DYING)
    }

    /// Removes a confirmed connection that [`Conntrack::is_alive`] says no of.
    pub(super) fn end_dead(&mut self, index: u32) {
        self.stats.expired += 1;
        self.destroy(index);
    }

    /// Makes room for a connection: drops the one that has waited longest without being ASSURED. False when there is none
    /// (`early_drop`).
    pub(super) fn early_drop(&mut self) -> bool {
        for _ in 0..EARLY_DROP_LOOKS {
            let index = self.slab.oldest();
            let Some(entry) = self.slab.entry(index) else {
                return false;
            };
            if entry.conn.status.has(Status::ASSURED) && self.is_alive(entry) {
                // It was made ASSURED behind our back.
                self.slab.age_remove(index);
                continue;
            }
            self.stats.early_drop += 1;
            self.destroy(index);
            return true;
        }
        false
    }

    /// Enters both tuples of an entry into the index.
    pub(super) fn link(&mut self, index: u32) {
        for direction in DIRECTIONS {
            self.link_direction(index, direction);
        }
    }

    pub(super) fn link_direction(&mut self, index: u32, direction: Direction) {
        if let Some(hash) = self.hash_of(index, direction) {
            self.index.insert(hash, slot(index, direction));
        }
    }

    fn hash_of(&self, index: u32, direction: Direction) -> Option<u32> {
        let conn = &self.slab.entry(index)?.conn;
        Some(self.keys.tuple(conn.tuple(direction), conn.zone.in_direction(direction)))
    }

    /// Frees an entry in whatever phase, and takes it out of every index and list.
    pub(super) fn destroy(&mut self, index: u32) {
        let Some(phase) = self.slab.entry(index).map(|entry| entry.phase) else {
            return;
        };
        self.remove_expectations_of(index);
        if phase == Phase::Confirmed {
            self.report_destroy(index);
            for direction in DIRECTIONS {
                if let Some(hash) = self.hash_of(index, direction) {
                    self.index.remove(hash, slot(index, direction));
                }
            }
        }
        self.slab.age_remove(index);
        self.sources.remove(&mut self.slab, index, &self.keys);
        self.slab.remove(index);
    }

    /// The tuple of a packet as it is; `None` when it has none: a later fragment, a header cut short.
    pub fn tuple(&self, packet: &Packet) -> Option<Tuple> {
        super::extract::has_transport(&packet.headers)
            .then(|| super::extract::tuple(&packet.headers, packet.transport(), &self.trackers))
            .flatten()
    }

    /// The tuple of packets that answer `tuple`'s; `None` when nothing answers such packets.
    pub fn invert(&self, tuple: &Tuple) -> Option<Tuple> {
        self.trackers.invert(tuple)
    }
}
