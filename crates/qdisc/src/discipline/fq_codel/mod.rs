//! fq_codel: a queue with CoDel for each flow, served in turn (RFC 8290), and hosts served in turn before their flows.
//!
//! With `hosts none` it is the kernel's algorithm (net/sched/sch_fq_codel.c), decision for decision; only the hash is another.

mod flows;
mod hosts;
mod rounds;

use std::time::Duration;

use serde::Serialize;

use self::flows::{Flow, Flows};
use self::hosts::{HostKey, HostRounds};
use self::rounds::Rounds;
use super::{Arrival, Context, Dequeued, Discipline, Environment, Queued};
use crate::codel::{Codel, Parameters, Time, Waiting};
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::{self, HostFairness, QdiscKind};
use crate::stats::Extra;

/// Packets dropped from the longest queue at once when there is no more room (`drop_batch_size`).
const DROP_BATCH: u32 = 64;

/// What fq_codel counts beside what every discipline does (`struct tc_fq_codel_qd_stats`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FqCodelStats {
    /// The largest packet, bytes.
    pub max_packet: u32,
    /// Packets dropped because a limit was reached.
    pub drop_overlimit: u64,
    /// Of these, because it was the limit of memory.
    pub drop_overmemory: u64,
    /// Times that a flow began to send.
    pub new_flow_count: u64,
    /// Packets marked instead of dropped.
    pub ecn_mark: u64,
    /// Packets marked above `ce_threshold`.
    pub ce_mark: u64,
    /// Bytes of memory that waiting packets take.
    pub memory_used: u64,
    /// Flows that have just begun.
    pub new_flows_len: u64,
    /// Flows served in turn.
    pub old_flows_len: u64,
    /// Hosts served in turn; 0 with `hosts none`.
    pub hosts_len: u64,
}

pub(crate) struct FqCodel<P> {
    options: Options,
    codel: Codel,
    flows: Flows<P>,
    turns: Turns,
    memory: u64,
    new_flow_count: u64,
    drop_overlimit: u64,
    drop_overmemory: u64,
}

struct Options {
    limit: u64,
    memory_limit: u64,
    flows: u32,
    quantum: i64,
    hosts: HostFairness,
}

/// What is asked for, with defaults, as the two parts that use it.
fn options(fq_codel: &spec::FqCodel, environment: &Environment) -> (Options, Parameters) {
    let fq_codel = fq_codel.with_defaults(environment.mtu, environment.hosts);
    let time = |time: Option<Duration>| Time::from_duration(time.unwrap_or_default());
    let options = Options {
        limit: fq_codel.limit.unwrap_or_default().into(),
        memory_limit: fq_codel.memory_limit.unwrap_or_default().into(),
        flows: fq_codel.flows.unwrap_or_default().max(1),
        quantum: fq_codel.quantum.unwrap_or_default().max(1).into(),
        hosts: fq_codel.hosts.unwrap_or_default(),
    };
    let parameters = Parameters {
        target: time(fq_codel.target),
        interval: time(fq_codel.interval),
        ce_threshold: fq_codel.ce_threshold.map(Time::from_duration),
        ecn: fq_codel.ecn.unwrap_or_default(),
        mtu: environment.mtu.into(),
    };
    (options, parameters)
}

/// Whose turn it is.
enum Turns {
    Flows(Rounds),
    Hosts(HostRounds),
}

impl Turns {
    fn new(options: &Options) -> Turns {
        match options.hosts {
            HostFairness::None => Turns::Flows(Rounds::default()),
            HostFairness::Src | HostFairness::Dst => Turns::Hosts(HostRounds::default()),
        }
    }
}

impl<P: Packet> FqCodel<P> {
    pub fn new(fq_codel: &spec::FqCodel, environment: &Environment) -> Self {
        let (options, parameters) = options(fq_codel, environment);
        FqCodel {
            codel: Codel::new(parameters),
            flows: Flows::new(options.flows, environment.seed),
            turns: Turns::new(&options),
            options,
            memory: 0,
            new_flow_count: 0,
            drop_overlimit: 0,
            drop_overmemory: 0,
        }
    }

    /// Puts a packet into its flow's queue.
    fn place(&mut self, waiting: Waiting<P>, arrival: &Arrival) {
        let headers = arrival.headers(&waiting.queued.packet);
        let place = match &mut self.turns {
            Turns::Flows(rounds) => {
                let place = self.flows.place(headers);
                if let Some(flow) = self.flows.begin(place, self.options.quantum) {
                    flow.host = 0;
                    rounds.new.push_back(place);
                    self.new_flow_count += 1;
                }
                place
            }
            Turns::Hosts(rounds) => {
                let key = HostKey::of(&waiting.queued.packet, headers, self.options.hosts);
                let place = self.flows.place_apart(headers, |host| rounds.is(host, key));
                if let Some(flow) = self.flows.begin(place, self.options.quantum) {
                    flow.host = rounds.host(key, self.options.quantum);
                    rounds.new.push_back(place);
                    self.new_flow_count += 1;
                }
                place
            }
        };
        self.memory += memory(&waiting.queued);
        if let Some(flow) = self.flows.get_mut(place) {
            flow.push(waiting);
        }
    }

    /// Drops half of the longest queue, at most a batch: looking for it takes time, so that one packet would be too few.
    fn drop_from_longest(&mut self, reason: DropReason, cx: &mut Context<'_, P>) {
        let Some(flow) = self.flows.longest() else { return };
        let half = flow.backlog / 2;
        let (mut packets, mut bytes) = (0, 0);
        while packets < DROP_BATCH
            && (packets == 0 || bytes < half)
            && let Some(waiting) = flow.pop()
        {
            packets += 1;
            bytes += u64::from(waiting.queued.bytes);
            self.memory = self.memory.saturating_sub(memory(&waiting.queued));
            cx.drop(waiting.queued, reason);
        }
        flow.codel.add_drops(packets);
        self.drop_overlimit += u64::from(packets);
        if reason == DropReason::Memory {
            self.drop_overmemory += u64::from(packets);
        }
    }
}

/// What a waiting packet takes. (The kernel counts `skb->truesize`, which rounds buffers up.)
fn memory<P: Packet>(queued: &Queued<P>) -> u64 {
    (queued.packet.bytes().len() + size_of::<Waiting<P>>()) as u64
}

impl<P: Packet> Discipline<P> for FqCodel<P> {
    fn enqueue(&mut self, queued: Queued<P>, arrival: &Arrival, cx: &mut Context<'_, P>) {
        let since = Time::from_nanos(cx.now);
        self.place(Waiting { queued, since }, arrival);
        // The backlog includes this packet already.
        if self.memory > self.options.memory_limit {
            self.drop_from_longest(DropReason::Memory, cx);
        } else if cx.counters.backlog.packets > self.options.limit {
            self.drop_from_longest(DropReason::Overlimit, cx);
        }
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        let (codel, memory_used) = (&mut self.codel, &mut self.memory);
        let take = |flow: &mut Flow<P>| {
            let Flow {
                queue,
                backlog,
                codel: state,
                ..
            } = flow;
            codel.dequeue(state, cx, || {
                let waiting = queue.pop_front()?;
                *backlog = backlog.saturating_sub(waiting.queued.bytes.into());
                *memory_used = memory_used.saturating_sub(memory(&waiting.queued));
                Some(waiting)
            })
        };
        let quantum = self.options.quantum;
        let queued = match &mut self.turns {
            Turns::Flows(rounds) => rounds.next(&mut self.flows, quantum, take),
            Turns::Hosts(rounds) => rounds.next(&mut self.flows, quantum, take),
        };
        // The packet in hand is counted until it is sent. When it was the last, everybody begins anew, as in the kernel, which asks
        // once more and finds all flows empty.
        if cx.counters.backlog.packets <= 1 {
            match &mut self.turns {
                Turns::Flows(rounds) => rounds.clear(&mut self.flows),
                Turns::Hosts(rounds) => rounds.clear(&mut self.flows),
            }
        }
        queued.map_or(Dequeued::Empty, Dequeued::Packet)
    }

    /// More than a smaller limit allows goes when the next packet comes.
    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        let QdiscKind::FqCodel(fq_codel) = kind else { return };
        let (options, parameters) = options(fq_codel, environment);
        self.codel.parameters = parameters;
        let placed_otherwise = options.flows != self.options.flows || options.hosts != self.options.hosts;
        self.options = options;
        if placed_otherwise {
            let waiting = self.flows.take();
            self.flows = Flows::new(self.options.flows, environment.seed);
            self.turns = Turns::new(&self.options);
            self.memory = 0;
            for waiting in waiting {
                self.place(waiting, &Arrival::default());
            }
        }
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.flows.take().into_iter().map(|waiting| waiting.queued));
        self.turns = Turns::new(&self.options);
        self.memory = 0;
    }

    fn extra(&self) -> Extra {
        let (new, old, hosts) = match &self.turns {
            Turns::Flows(rounds) => (rounds.new.len(), rounds.old.len(), 0),
            Turns::Hosts(rounds) => rounds.lengths(),
        };
        Extra::FqCodel(FqCodelStats {
            max_packet: self.codel.counts.max_packet,
            drop_overlimit: self.drop_overlimit,
            drop_overmemory: self.drop_overmemory,
            new_flow_count: self.new_flow_count,
            ecn_mark: self.codel.counts.marked,
            ce_mark: self.codel.counts.marked_above_threshold,
            memory_used: self.memory,
            new_flows_len: new as u64,
            old_flows_len: old as u64,
            hosts_len: hosts as u64,
        })
    }
}
