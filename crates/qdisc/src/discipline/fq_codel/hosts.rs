//! Hosts in turn, and the flows of each in turn: a host with many flows gets no more than one with a single flow.
//!
//! A flow that has just begun is still sent before all others, as in fq_codel: a look-up or the first packet of a connection
//! does not wait for the turn of its host, however busy that is. What it sends is taken from what its host may send, and a
//! host can have only so much in advance; so over time every host has the same.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use fielato_wire::{Addr, Family, Headers};

use super::flows::{Flow, Flows};
use super::rounds::Rounds;
use crate::discipline::Queued;
use crate::packet::Packet;
use crate::spec::HostFairness;

/// Quanta that the new flows of a host may send ahead of its turn: 12 kB of full packets, which at 20 Mbit/s delay others by the
/// 5 ms that CoDel finds acceptable.
const ADVANCE: i64 = 8;

/// A host by its address; all that is no IP packet is one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct HostKey {
    family: u8,
    address: u128,
}

impl HostKey {
    pub fn of<P: Packet>(packet: &P, headers: Option<&Headers>, fairness: HostFairness) -> HostKey {
        let known = match fairness {
            HostFairness::Src => packet.source(),
            HostFairness::Dst | HostFairness::None => None,
        };
        match known {
            Some(IpAddr::V4(address)) => {
                return HostKey {
                    family: Family::V4.bits(),
                    address: Addr::v4(address).to_bits(),
                };
            }
            Some(IpAddr::V6(address)) => {
                return HostKey {
                    family: Family::V6.bits(),
                    address: Addr::v6(address).to_bits(),
                };
            }
            None => {}
        }
        let Some(headers) = headers else {
            return HostKey::default();
        };
        let address = match fairness {
            HostFairness::Src => headers.src,
            HostFairness::Dst | HostFairness::None => headers.dst,
        };
        HostKey {
            family: headers.family.bits(),
            address: address.to_bits(),
        }
    }
}

#[derive(Default)]
struct Host {
    key: HostKey,
    /// Bytes it may send before the next one's turn.
    deficit: i64,
    /// Bytes that its new flows sent ahead of its turn and that it has not made up for.
    advance: i64,
    flows: Rounds,
}

/// The order in which hosts and their flows are served.
#[derive(Default)]
pub(super) struct HostRounds {
    /// Flows that have just begun, of all hosts.
    pub new: VecDeque<u32>,
    /// Hosts in turn.
    ring: VecDeque<u32>,
    hosts: Vec<Host>,
    /// Places in `hosts` that are free.
    free: Vec<u32>,
    by_key: BTreeMap<HostKey, u32>,
}

impl HostRounds {
    /// The place of a host, which has its turns from now on.
    pub fn host(&mut self, key: HostKey, quantum: i64) -> u32 {
        if let Some(place) = self.by_key.get(&key) {
            return *place;
        }
        let host = Host {
            key,
            deficit: quantum,
            ..Host::default()
        };
        let free = self.free.pop();
        let place = match free.and_then(|place| Some((place, self.hosts.get_mut(place as usize)?))) {
            Some((place, entry)) => {
                *entry = host;
                place
            }
            None => {
                self.hosts.push(host);
                self.hosts.len() as u32 - 1
            }
        };
        self.by_key.insert(key, place);
        self.ring.push_back(place);
        place
    }

    pub fn is(&self, place: u32, key: HostKey) -> bool {
        self.hosts.get(place as usize).is_some_and(|host| host.key == key)
    }

    /// No host has turns any more.
    pub fn clear<P>(&mut self, flows: &mut Flows<P>) {
        let mut began = Rounds {
            new: std::mem::take(&mut self.new),
            ..Rounds::default()
        };
        began.clear(flows);
        for place in self.ring.drain(..) {
            if let Some(host) = self.hosts.get_mut(place as usize) {
                host.flows.clear(flows);
            }
        }
        *self = HostRounds::default();
    }

    /// The next packet, which `take` takes from the flow whose turn it is; nothing when all flows are empty.
    pub fn next<P>(
        &mut self,
        flows: &mut Flows<P>,
        quantum: i64,
        mut take: impl FnMut(&mut Flow<P>) -> Option<Queued<P>>,
    ) -> Option<Queued<P>> {
        if let Some(queued) = self.next_new(flows, quantum, &mut take) {
            return Some(queued);
        }
        loop {
            let place = *self.ring.front()?;
            let host = self.hosts.get_mut(place as usize)?;
            if host.deficit <= 0 {
                host.deficit += quantum;
                host.advance = (host.advance - quantum).max(0);
                self.ring.rotate_left(1);
                continue;
            }
            if let Some(queued) = host.flows.next(flows, quantum, &mut take) {
                host.deficit -= i64::from(queued.bytes);
                return Some(queued);
            }
            // Nothing waits, and what it had in advance is made up for.
            self.by_key.remove(&host.key);
            self.ring.pop_front();
            self.free.push(place);
        }
    }

    /// The next packet of a flow that has just begun.
    fn next_new<P>(
        &mut self,
        flows: &mut Flows<P>,
        quantum: i64,
        take: &mut impl FnMut(&mut Flow<P>) -> Option<Queued<P>>,
    ) -> Option<Queued<P>> {
        loop {
            let place = *self.new.front()?;
            let Some(flow) = flows.get_mut(place) else {
                self.new.pop_front();
                continue;
            };
            let Some(host) = self.hosts.get_mut(flow.host as usize) else {
                self.new.pop_front();
                flow.end();
                continue;
            };
            if flow.deficit <= 0 {
                flow.deficit += quantum;
                host.flows.old.push_back(place);
            } else if host.advance >= ADVANCE * quantum {
                host.flows.new.push_back(place);
            } else if let Some(queued) = take(flow) {
                let bytes = i64::from(queued.bytes);
                flow.deficit -= bytes;
                host.deficit -= bytes;
                host.advance += bytes;
                return Some(queued);
            } else if host.flows.is_empty() {
                flow.end();
            } else {
                // Once around with the host's others, as in the kernel's fq_codel.
                host.flows.old.push_back(place);
            }
            self.new.pop_front();
        }
    }

    /// How many new flows, other flows and hosts have their turns.
    pub fn lengths(&self) -> (usize, usize, usize) {
        let listed = self.ring.iter().filter_map(|place| self.hosts.get(*place as usize));
        let (new, old) = listed.fold((self.new.len(), 0), |(new, old), host| {
            (new + host.flows.new.len(), old + host.flows.old.len())
        });
        (new, old, self.ring.len())
    }
}
