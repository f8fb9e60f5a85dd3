//! Expectations: connections that a helper has read the announcement of (`nf_conntrack_expect.c`).

use fielato_wire::Addr;

use super::event::ExpectChange;
use super::index::Index;
use super::slab::Phase;
use super::{ConnId, Conntrack, Direction, HelperKind, Status, Tuple, Zone};
use crate::Now;

/// What NAT does to an expected connection (`nf_nat_follow_master`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectNat {
    /// Nothing.
    None,
    /// It is led to where its master's translation leads.
    Follow {
        /// Direction of the master that will carry the expected packets.
        direction: Direction,
        /// The address as announced before translation.
        saved_addr: Addr,
        /// The port as announced before translation.
        saved_port: u16,
    },
}

/// A connection to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The tuple to come.
    pub tuple: Tuple,
    /// Bits of the source address that count.
    pub src_mask: Addr,
    /// Bits of the source port that count.
    pub sport_mask: u16,
    /// The connection that announced it.
    pub master: ConnId,
    /// Zone.
    pub zone: Zone,
    /// The helper of the connection to come, if any.
    pub helper: Option<HelperKind>,
    /// The helper that made it.
    pub class: HelperKind,
    /// It stays when it has been met.
    pub permanent: bool,
    /// What NAT does.
    pub nat: ExpectNat,
    /// When it expires, in nanoseconds of [`crate::Now::mono`].
    pub deadline: u64,
}

/// Handle of an expectation: a place and the generation of what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectId {
    index: u32,
    generation: u32,
}

/// Why an expectation can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpectError {
    /// EBUSY.
    #[error("another expectation may match the same packets: choose another port")]
    Clash,
    /// EALREADY.
    #[error("another helper of the same connection expects the same packets")]
    Already,
    /// EMFILE.
    #[error("the connection has as many expectations as its helper allows")]
    TooMany,
    /// EMFILE.
    #[error("there are as many expectations as there may be: raise nf_conntrack_expect_max")]
    Full,
    /// ESHUTDOWN.
    #[error("the connection that announced it is gone")]
    NoMaster,
}

impl HelperKind {
    /// How many connections one master may expect (`nf_conntrack_expect_policy`).
    pub const fn max_expected(self) -> usize {
        match self {
            HelperKind::Ftp | HelperKind::Tftp | HelperKind::Named(_) => 1,
        }
    }

    /// How long an expectation lasts, in nanoseconds.
    pub const fn expect_timeout(self) -> u64 {
        match self {
            HelperKind::Ftp | HelperKind::Tftp | HelperKind::Named(_) => 300 * Now::SECOND,
        }
    }
}

impl Expectation {
    /// Whether a packet of this tuple is meant (`nf_ct_tuple_mask_cmp`).
    fn matches(&self, tuple: &Tuple) -> bool {
        same_but_for_source(&self.tuple, tuple)
            && tuple.src.and(self.src_mask) == self.tuple.src.and(self.src_mask)
            && tuple.sport & self.sport_mask == self.tuple.sport & self.sport_mask
    }

    fn is_same(&self, other: &Expectation) -> bool {
        self.tuple == other.tuple
            && self.src_mask == other.src_mask
            && self.sport_mask == other.sport_mask
            && self.zone.id == other.zone.id
    }

    /// Whether some packet could be meant by both.
    fn clashes(&self, other: &Expectation) -> bool {
        let (addresses, ports) = (self.src_mask.and(other.src_mask), self.sport_mask & other.sport_mask);
        self.zone.id == other.zone.id
            && same_but_for_source(&self.tuple, &other.tuple)
            && self.tuple.src.and(addresses) == other.tuple.src.and(addresses)
            && self.tuple.sport & ports == other.tuple.sport & ports
    }
}

fn same_but_for_source(a: &Tuple, b: &Tuple) -> bool {
    a.dst == b.dst && a.dport == b.dport && a.protocol == b.protocol && a.family == b.family
}

/// All expectations.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    places: Vec<Place>,
    free: Vec<u32>,
    /// By destination.
    index: Index,
    len: u32,
    cursor: u32,
}

#[derive(Debug)]
struct Place {
    expectation: Option<Expectation>,
    generation: u32,
}

impl Expectations {
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn at(&self, index: u32) -> Option<&Expectation> {
        self.places.get(index as usize)?.expectation.as_ref()
    }

    fn insert(&mut self, expectation: Expectation, hash: u32) -> ExpectId {
        let index = self.free.pop().unwrap_or(self.places.len() as u32);
        if index as usize == self.places.len() {
            self.places.push(Place {
                expectation: None,
                generation: 0,
            });
        }
        let place = &mut self.places[index as usize];
        place.expectation = Some(expectation);
        self.index.insert(hash, index);
        self.len += 1;
        ExpectId {
            index,
            generation: place.generation,
        }
    }

    fn remove(&mut self, index: u32, hash: u32) -> Option<Expectation> {
        let place = self.places.get_mut(index as usize)?;
        let expectation = place.expectation.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        self.index.remove(hash, index);
        self.len -= 1;
        Some(expectation)
    }
}

impl Conntrack {
    /// Expects a connection (`nf_ct_expect_related`). An equal expectation of the same connection is replaced; a connection that
    /// has as many as its helper allows loses its oldest.
    pub fn expect(&mut self, expectation: Expectation) -> Result<ExpectId, ExpectError> {
        if self.get(expectation.master).is_none() {
            return Err(ExpectError::NoMaster);
        }
        let hash = self.keys.destination(&expectation.tuple);
        let mut equal = None;
        let mut refused = None;
        let now = self.now.mono;
        self.expectations.index.find(hash, |index| {
            let Some(other) = self.expectations.at(index).filter(|other| other.deadline > now) else {
                return false;
            };
            if other.master == expectation.master && other.is_same(&expectation) {
                equal = Some(index);
                refused = (other.class != expectation.class).then_some(ExpectError::Already);
            } else if other.clashes(&expectation) {
                refused = Some(ExpectError::Clash);
            }
            equal.is_some() || refused.is_some()
        });
        if let Some(error) = refused {
            return Err(error);
        }
        if let Some(index) = equal {
            self.remove_expectation(index);
        }
        let own: Vec<u32> = self
            .expecting(expectation.master)
            .iter()
            .copied()
            .filter(|&index| self.expectations.at(index).is_some_and(|own| own.class == expectation.class))
            .collect();
        let max = expectation.class.max_expected();
        if max == 0 {
            return Err(ExpectError::TooMany);
        }
        if let Some(&oldest) = own.first().filter(|_| own.len() >= max) {
            self.remove_expectation(oldest);
        }
        if self.expectations.len() >= self.config.expect_max {
            return Err(ExpectError::Full);
        }
        let master = expectation.master;
        let id = self.expectations.insert(expectation, hash);
        if let Some(conn) = self.get_mut(master) {
            conn.extra_mut().expecting.push(id.index);
        }
        self.stats.expect_create += 1;
        self.report_expectation(id.index, ExpectChange::New);
        Ok(id)
    }

    /// An expectation; `None` when it was met, has expired or was removed.
    pub fn expectation(&self, id: ExpectId) -> Option<&Expectation> {
        let place = self.expectations.places.get(id.index as usize)?;
        place.expectation.as_ref().filter(|_| place.generation == id.generation)
    }

    /// Removes an expectation. False when it is gone already.
    pub fn unexpect(&mut self, id: ExpectId) -> bool {
        self.expectation(id).is_some() && self.remove_expectation(id.index).is_some()
    }

    /// All expectations that have not expired.
    pub fn expectations(&self) -> impl Iterator<Item = &Expectation> {
        let living = |expectation: &&Expectation| expectation.deadline > self.now.mono;
        let all = self.expectations.places.iter().filter_map(|place| place.expectation.as_ref());
        all.filter(living)
    }

    /// Expectations, those included that have expired and not been found yet.
    pub const fn expectation_count(&self) -> u32 {
        self.expectations.len()
    }

    /// Places of a connection's expectations, oldest first.
    fn expecting(&self, master: ConnId) -> &[u32] {
        let extra = self.get(master).and_then(|conn| conn.extra.as_ref());
        extra.map_or(&[], |extra| &extra.expecting)
    }

    /// The expectation that a new connection meets; it is removed unless it is permanent (`nf_ct_find_expectation`).
    pub(super) fn meet(&mut self, tuple: &Tuple, zone: Zone) -> Option<Expectation> {
        if self.expectations.len() == 0 {
            return None;
        }
        let now = self.now.mono;
        let hash = self.keys.destination(tuple);
        let index = self.expectations.index.find(hash, |index| {
            self.expectations.at(index).is_some_and(|expectation| {
                expectation.deadline > now && expectation.zone.id == zone.id && expectation.matches(tuple)
            })
        })?;
        let expectation = self.expectations.at(index)?;
        // Nobody can have heard of an announcement before it has left this machine.
        let master = self.slab.get(expectation.master)?;
        if master.phase != Phase::Confirmed || master.conn.status.has(Status::DYING) {
            return None;
        }
        if expectation.permanent {
            return Some(expectation.clone());
        }
        self.remove_expectation(index)
    }

    /// Removes all expectations of a connection.
    pub(super) fn remove_expectations_of(&mut self, index: u32) {
        let Some(extra) = self.slab.entry_mut(index).and_then(|entry| entry.conn.extra.as_mut()) else {
            return;
        };
        for index in extra.expecting.clone() {
            self.remove_expectation(index);
        }
    }

    /// Removes an expectation from its master and every index.
    fn remove_expectation(&mut self, index: u32) -> Option<Expectation> {
        let expectation = self.expectations.at(index)?;
        let (hash, master) = (self.keys.destination(&expectation.tuple), expectation.master);
        self.report_expectation(index, ExpectChange::Destroy);
        if let Some(extra) = self.get_mut(master).and_then(|conn| conn.extra.as_mut()) {
            extra.expecting.retain(|&own| own != index);
        }
        self.stats.expect_delete += 1;
        self.expectations.remove(index, hash)
    }

    /// Removes expectations that have expired, looking at no more than `budget`.
    pub(super) fn expire_expectations(&mut self, budget: usize) {
        let places = self.expectations.places.len() as u32;
        if self.expectations.len() == 0 {
            return;
        }
        for _ in 0..budget.min(places as usize) {
            let index = self.expectations.cursor;
            self.expectations.cursor = if index + 1 < places { index + 1 } else { 0 };
            if self.expectations.at(index).is_some_and(|own| own.deadline <= self.now.mono) {
                self.remove_expectation(index);
            }
        }
    }
}
