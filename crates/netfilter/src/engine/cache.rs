//! The flow cache: what became of a flow's packet is kept with its connection, and later packets of the flow are sent the
//! same way without crossing the hooks.
//!
//! A *path* is what a packet met: every rule and policy that counted it, its marks afterwards, its way out. Flows that
//! meet the same rules share one path, so that a path is a handful of numbers however many flows there are, and counting a
//! packet is one addition: the counters of the path are added to its rules' when those are read. A path is only taken when
//! everything that decided about it is the same again ([`Entry`]), and only recorded when nothing else decided
//! (`Match::per_flow`, `Target::per_flow`). A change of rules or routes makes all of them void.

use std::collections::HashMap;

use crate::conntrack::CtState;
use crate::rule::Counters;
use crate::verdict::DropReason;
use crate::{Hook, Interface, Packet, PacketCt};
use fielato_wire::{Family, TcpFlags};

/// Most paths that are kept; flows beyond them walk the rules.
const MAX_PATHS: usize = 65_536;

/// A connection's reference to a path, per direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheRef {
    path: u32,
    /// The cache's generation when it was noted; 0 is never valid.
    generation: u32,
}

/// A counter that a packet met: a rule's or a policy's, by its number in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Crossed {
    pub(crate) table: u16,
    pub(crate) counter: u32,
}

/// Everything beside the connection's tuple that a cached decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) hook: Hook,
    family: Family,
    state: CtState,
    in_interface: u32,
    mark: u32,
    connection_mark: u32,
    tos: u8,
    /// SYN, ACK, FIN and RST.
    tcp_flags: u8,
}

impl Entry {
    pub(super) fn of(packet: &Packet, hook: Hook, state: CtState, connection_mark: u32) -> Entry {
        const FLAGS: u8 = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::FIN | TcpFlags::RST;
        Entry {
            hook,
            family: packet.headers.family,
            state,
            in_interface: packet.in_interface.index,
            mark: packet.mark,
            connection_mark,
            tos: packet.headers.tos,
            tcp_flags: packet.headers.tcp_flags.0 & FLAGS,
        }
    }
}

/// Where a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    Deliver,
    Transmit { interface: Interface, mtu: u32, realm: u32 },
    Drop(DropReason),
}

/// A recorded way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path {
    pub(super) entry: Entry,
    pub(super) end: End,
    /// Of a packet that was forwarded, even if it was dropped then, the largest that its way out takes: a larger one, or one whose
    /// hops are used up, comes no further than the route.
    pub(super) forwarded: Option<u32>,
    /// The packet's mark and priority at the end.
    pub(super) mark: u32,
    pub(super) priority: u32,
    pub(super) crossed: Box<[Crossed]>,
}

/// All paths of an engine.
#[derive(Debug)]
pub(super) struct FlowCache {
    /// Never 0.
    generation: u32,
    paths: Vec<(Path, Counters)>,
    index: HashMap<Path, u32>,
    route_generation: u64,
    /// Packets that took a path that is void now.
    past_hits: u64,
    /// Whether paths are taken and recorded at all.
    pub(super) enabled: bool,
}

impl Default for FlowCache {
    fn default() -> FlowCache {
        FlowCache {
            generation: 1,
            paths: Vec::new(),
            index: HashMap::new(),
            route_generation: 0,
            past_hits: 0,
            enabled: true,
        }
    }
}

impl FlowCache {
    /// The path that a connection noted, if it is still valid and holds for this packet, and its counters.
    #[inline]
    pub(super) fn look(&mut self, noted: CacheRef, entry: &Entry) -> Option<(&Path, &mut Counters)> {
        if noted.generation != self.generation {
            return None;
        }
        let (path, counters) = self.paths.get_mut(noted.path as usize)?;
        (path.entry == *entry).then_some((path, counters))
    }

    /// The reference to a path, new or known; `None` when there are too many.
    pub(super) fn note(&mut self, path: Path) -> Option<CacheRef> {
        let generation = self.generation;
        if let Some(&known) = self.index.get(&path) {
            return Some(CacheRef { path: known, generation });
        }
        if self.paths.len() == MAX_PATHS {
            return None;
        }
        let number = self.paths.len() as u32;
        self.paths.push((path.clone(), Counters::default()));
        self.index.insert(path, number);
        Some(CacheRef {
            path: number,
            generation,
        })
    }

    /// Whether routes changed since the last call; the paths are then void.
    pub(super) fn routes_changed(&mut self, generation: u64) -> bool {
        std::mem::replace(&mut self.route_generation, generation) != generation
    }

    /// Counts of all paths of a family, by the counters they are to be added to.
    pub(super) fn counts(&self, family: Family) -> impl Iterator<Item = (Crossed, Counters)> + '_ {
        let of_family = self.paths.iter().filter(move |(path, _)| path.entry.family == family);
        of_family.flat_map(|(path, counters)| path.crossed.iter().map(|crossed| (*crossed, *counters)))
    }

    /// Packets that took a path.
    pub(super) fn hits(&self) -> u64 {
        self.past_hits + self.paths.iter().map(|(_, counters)| counters.packets).sum::<u64>()
    }

    /// Makes every path void. The caller has added the counts to the rules.
    pub(super) fn clear(&mut self) {
        self.past_hits = self.hits();
        self.paths.clear();
        self.index.clear();
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }
}

/// Notes what a packet meets on its way through the tables.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    active: bool,
    /// What tracking is to make of the packet.
    expected: PacketCt,
    /// It did.
    tracked: bool,
    crossed: Vec<Crossed>,
}

impl Recorder {
    pub(super) fn start(&mut self, expected: PacketCt) {
        (self.active, self.tracked, self.expected) = (true, false, expected);
        self.crossed.clear();
    }

    /// Tracking made this of the packet. A packet that is invalid, or belongs elsewhere, says nothing about the flow.
    pub(super) fn tracked(&mut self, ct: PacketCt) {
        self.tracked = ct == self.expected;
        self.active &= self.tracked;
    }

    /// What was met since the start, unless something decided that is not the same for the whole flow, or the packet ended
    /// before it was tracked (a flow's later packets are tracked first).
    pub(super) fn finish(&mut self) -> Option<&[Crossed]> {
        (std::mem::take(&mut self.active) && self.tracked).then_some(&self.crossed)
    }

    /// A counter counted the packet.
    #[inline]
    pub(crate) fn crossed(&mut self, table: u16, counter: u32) {
        if self.active {
            self.crossed.push(Crossed { table, counter });
        }
    }

    /// Something decided that may decide otherwise for the next packet.
    #[inline]
    pub(crate) fn spoil(&mut self) {
        self.active = false;
    }

    #[inline]
    pub(crate) const fn is_active(&self) -> bool {
        self.active
    }
}
