//! Everything of one network namespace.
//!
//! `path` is a packet's way, `stage` what runs at a hook, `flow` the short way of known flows, [`command`] the one way in for
//! every change.

mod cache;
pub mod command;
mod flow;
mod judge;
mod path;
mod queue;
mod stage;

use fielato_wire::Family;

pub use cache::CacheRef;
pub(crate) use cache::Recorder;
pub use path::{Ended, Fate};
pub use stage::{HookFunction, Registration};

use crate::conntrack::defrag::Defrag;
use crate::conntrack::{Config, Conntrack, Tracking};
use crate::context::{Effect, Shared};
use crate::queue::Queues;
use crate::rule::{Chain, Ruleset};
use crate::table::{CompiledTable, RegisteredTable, Scratch};
use crate::{DropReason, Now};
use cache::FlowCache;
use judge::Judging;
use stage::Staged;

/// Netfilter for one network namespace: both families.
pub struct Netfilter {
    families: [PerFamily; 2],
    conntrack: Conntrack,
    defrag: Defrag,
    shared: Shared,
    queues: Queues,
    rng: fastrand::Rng,
    effects: Vec<Effect>,
    drops: Drops,
    cache: FlowCache,
    scratch: Scratch,
    /// The packet was tracked before its way began, and found invalid.
    found_invalid: bool,
    registrations: u64,
    judging: Judging,
}

/// Tables and hooks of one family.
struct PerFamily {
    /// The rule set as it was given; its counters are those it was given with.
    source: Ruleset,
    tables: Vec<CompiledTable>,
    registered_tables: Vec<RegisteredTable>,
    hooks: [Vec<Staged>; 5],
    /// Whether connections are tracked.
    tracks: bool,
    /// Grows with each change of the tables.
    generation: u64,
}

impl Netfilter {
    /// An engine without rules. `seed` starts its random generator and keys its hash tables.
    pub fn new(config: Config, seed: u64) -> Netfilter {
        let mut rng = fastrand::Rng::with_seed(seed);
        let tracks = config.tracking == Tracking::Always;
        let family = |family| PerFamily {
            source: Ruleset::new(family),
            tables: Vec::new(),
            registered_tables: Vec::new(),
            hooks: stage::in_order(&[], tracks, Default::default()),
            tracks,
            generation: 0,
        };
        Netfilter {
            families: [family(Family::V4), family(Family::V6)],
            conntrack: Conntrack::new(config, rng.u64(..)),
            defrag: Defrag::default(),
            shared: Shared::default(),
            queues: Queues::default(),
            rng,
            effects: Vec::new(),
            drops: Drops::default(),
            cache: FlowCache::default(),
            scratch: Scratch::default(),
            found_invalid: false,
            registrations: 0,
            judging: Judging::default(),
        }
    }

    /// The rule set of a family, with the counters of now.
    pub fn ruleset(&self, family: Family) -> Ruleset {
        let state = &self.families[family as usize];
        let mut ruleset = state.source.clone();
        for (table, compiled) in ruleset.tables.iter_mut().zip(&state.tables) {
            compiled.counters_into(table);
        }
        for (crossed, counts) in self.cache.counts(family) {
            let table = usize::from(crossed.table);
            if let Some(counters) = state.tables[table].counter_in(&mut ruleset.tables[table], crossed.counter) {
                counters.add(counts.packets, counts.bytes);
            }
        }
        ruleset
    }

    /// A chain of the rule set as it was given, with the counters it was given with.
    pub fn chain(&self, family: Family, table: &str, chain: &str) -> Option<&Chain> {
        self.families[family as usize].source.table(table)?.chain(chain)
    }

    /// How many rules of both families use the registered match or target of this name: its use count.
    pub fn extension_uses(&self, name: &str) -> usize {
        let tables = self.families.iter().flat_map(|family| &family.tables);
        tables.map(|table| table.extension_uses(name)).sum()
    }

    /// A number that grows with each change of a family's tables.
    pub fn generation(&self, family: Family) -> u64 {
        self.families[family as usize].generation
    }

    /// Connections.
    pub const fn conntrack(&self) -> &Conntrack {
        &self.conntrack
    }

    /// Waiting packets.
    pub const fn queues(&self) -> &Queues {
        &self.queues
    }

    /// How many packets were dropped for which reason, rules and policies apart from each other but not one by one
    /// (their own counters tell that).
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.drops.counts.iter().copied()
    }

    /// What packets caused beside their fate, since the last call.
    pub fn drain_effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Lets time pass: connections, expectations and fragments that are over go. `budget` bounds how many connections are
    /// looked at.
    pub fn expire(&mut self, now: Now, budget: usize) {
        self.conntrack.expire(now, budget);
        self.defrag.expire(now);
    }
}

/// Counts of drops by the reason's name. There are few reasons: a search along the list is quick.
#[derive(Debug, Default)]
struct Drops {
    counts: Vec<(&'static str, u64)>,
}

impl Drops {
    fn count(&mut self, reason: DropReason) {
        let name = reason.name();
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((name, 1)),
        }
    }
}
