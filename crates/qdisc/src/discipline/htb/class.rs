//! One class: its two buckets, what it may do, and what it counted.

use super::round::Round;
use crate::discipline::Node;
use crate::filter::Filters;
use crate::packet::Packet;
use crate::rate::{Rate, Ticks, elapsed};
use crate::spec::{self, Handle};
use crate::stats::{Counters, HtbCounts, Shape};

/// Levels of the hierarchy (`TC_HTB_MAXDEPTH`): leaves are at 0, classes right below the discipline at the top.
pub(super) const LEVELS: usize = 8;

/// HTB's priorities (`TC_HTB_NUMPRIO`).
pub(super) const PRIOS: usize = 8;

/// No debt is remembered for longer (`mbuffer`).
const LONGEST_DEBT: Ticks = 60 * 1_000_000_000 * 1024;

/// What a class may do (`enum htb_cmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Above its ceiling.
    CantSend,
    /// Above its rate, below its ceiling.
    MayBorrow,
    /// Below its rate.
    CanSend,
}

/// The part of a class that holds packets.
pub(super) struct Leaf<P: Packet> {
    pub node: Node<P>,
    /// What is left of its turn, at each level at which it may get one.
    pub deficit: [i64; LEVELS],
}

pub(super) struct Class<P: Packet> {
    pub id: Handle,
    pub parent: Option<u32>,
    pub level: usize,
    pub spec: spec::HtbClass,
    rate: Rate,
    ceil: Rate,
    buffer: Ticks,
    cbuffer: Ticks,
    tokens: Ticks,
    ctokens: Ticks,
    /// When the tokens were last counted, ns.
    counted: u64,
    pub quantum: i64,
    pub mode: Mode,
    /// The priorities, as bits, at which it has something to send.
    pub activity: u8,
    /// The first of its children; the others follow.
    pub first_child: u32,
    /// How many children it has.
    pub children: u32,
    /// Children that borrow, for each priority, by their number among the children.
    pub feeds: [Round; PRIOS],
    /// Asked when a packet comes to an inner class.
    pub filters: Filters,
    /// `None` for an inner class.
    pub leaf: Option<Leaf<P>>,
    pub counters: Counters,
    pub lent: u64,
    pub borrowed: u64,
}

/// What a bucket holds when it is not given, bytes. tc would take one packet of 1,600 bytes and what a timer interrupt brings; 4 ms
/// here, so that a process that wakes up late still finds its tokens.
fn default_burst(rate: u64) -> u32 {
    u32::try_from(rate / 250).unwrap_or(u32::MAX).saturating_add(1600)
}

impl<P: Packet> Class<P> {
    pub fn new(class: &spec::Class, parent: Option<u32>, level: usize, r2q: u32, now: u64) -> Self {
        let mut new = Class {
            id: class.classid,
            parent,
            level,
            spec: class.htb.clone(),
            rate: Rate::new(class.htb.rate),
            ceil: Rate::new(class.htb.ceil),
            buffer: 0,
            cbuffer: 0,
            tokens: 0,
            ctokens: 0,
            counted: now,
            quantum: 0,
            mode: Mode::CanSend,
            activity: 0,
            first_child: 0,
            children: 0,
            feeds: Default::default(),
            filters: Filters::default(),
            leaf: None,
            counters: Counters::default(),
            lent: 0,
            borrowed: 0,
        };
        new.buffer = new
            .rate
            .time(class.htb.burst.unwrap_or_else(|| default_burst(class.htb.rate)));
        new.cbuffer = new
            .ceil
            .time(class.htb.cburst.unwrap_or_else(|| default_burst(class.htb.ceil)));
        (new.tokens, new.ctokens) = (new.buffer, new.cbuffer);
        // `htb_change_class`: a turn is a tenth of a second's bytes by default, within bounds.
        let computed = (class.htb.rate / u64::from(r2q.max(1))).clamp(1000, 200_000);
        new.quantum = i64::from(class.htb.quantum.unwrap_or(computed as u32).max(1));
        new
    }

    /// Goes on where `old`, the same class before a change, stopped: no new burst with every change.
    pub fn inherit(&mut self, old: &mut Class<P>) {
        self.tokens = old.tokens.min(self.buffer);
        self.ctokens = old.ctokens.min(self.cbuffer);
        self.counted = old.counted;
        self.counters = std::mem::take(&mut old.counters);
        self.lent = old.lent;
        self.borrowed = old.borrowed;
    }

    pub fn prio(&self) -> usize {
        self.spec.prio as usize % PRIOS
    }

    /// Adds the tokens of the time since the last count. A bucket overflows at its size, or `late` beyond: what an alarm that went
    /// off too late has cost.
    pub fn refill(&mut self, now: u64, late: Ticks) {
        let passed = elapsed(now, self.counted).min(LONGEST_DEBT);
        let fill = |tokens: Ticks, size: Ticks| (tokens + passed).min(tokens.max(size + late));
        self.tokens = fill(self.tokens, self.buffer);
        self.ctokens = fill(self.ctokens, self.cbuffer);
        self.counted = self.counted.max(now);
    }

    /// Takes what `bytes` cost: of the ceiling's bucket always, of the rate's unless they are borrowed.
    pub fn charge(&mut self, bytes: u32, borrowed: bool) {
        let pay = |tokens: &mut Ticks, rate: &Rate| *tokens = (*tokens - rate.time(bytes)).max(1 - LONGEST_DEBT);
        if !borrowed {
            pay(&mut self.tokens, &self.rate);
        }
        pay(&mut self.ctokens, &self.ceil);
    }

    /// Gives up what a late alarm left beyond the buckets' sizes: nothing waits any more that was late.
    pub fn settle(&mut self) {
        self.tokens = self.tokens.min(self.buffer);
        self.ctokens = self.ctokens.min(self.cbuffer);
    }

    /// What the class may do at `now`, and after how long that changes (`htb_class_mode`).
    pub fn mode_at(&self, now: u64) -> (Mode, Ticks) {
        let passed = elapsed(now, self.counted);
        let (tokens, ctokens) = (self.tokens + passed, self.ctokens + passed);
        if ctokens < 0 {
            (Mode::CantSend, -ctokens)
        } else if tokens < 0 {
            (Mode::MayBorrow, -tokens)
        } else {
            (Mode::CanSend, 0)
        }
    }

    /// Whether its own queue holds packets.
    pub fn has_packets(&self) -> bool {
        self.leaf.as_ref().is_some_and(|leaf| leaf.node.counters.backlog.packets > 0)
    }

    /// Its parameters, with what was computed.
    pub fn shape(&self) -> Shape {
        Shape::HtbClass {
            class: spec::HtbClass {
                burst: Some(self.spec.burst.unwrap_or_else(|| default_burst(self.spec.rate))),
                cburst: Some(self.spec.cburst.unwrap_or_else(|| default_burst(self.spec.ceil))),
                quantum: u32::try_from(self.quantum).ok(),
                ..self.spec.clone()
            },
            level: self.level as u32,
        }
    }

    pub fn counts(&self) -> HtbCounts {
        // tc shows tokens in ticks of 64 ns (`PSCHED_NS2TICKS`).
        let ticks = |tokens: Ticks| tokens / 1024 / 64;
        HtbCounts {
            lended: self.lent,
            borrowed: self.borrowed,
            giants: 0,
            tokens: ticks(self.tokens),
            ctokens: ticks(self.ctokens),
        }
    }
}
