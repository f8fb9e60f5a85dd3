//! codel: one queue, kept short by CoDel (`net/sched/sch_codel.c`).

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::{Arrival, Context, Dequeued, Discipline, Environment, Queued};
use crate::codel::{self, Parameters, State, Time, Waiting};
use crate::drop::DropReason;
use crate::packet::Packet;
use crate::spec::{self, QdiscKind};
use crate::stats::Extra;

/// What codel counts beside what every discipline does (`struct tc_codel_xstats`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CodelStats {
    /// Packets dropped or marked since it began to.
    pub count: u32,
    /// The same when it last began.
    pub lastcount: u32,
    /// How long the last packet waited, microseconds.
    pub ldelay: u64,
    /// Whether it drops or marks now.
    pub dropping: bool,
    /// The largest packet, bytes.
    #[serde(rename = "maxpacket")]
    pub max_packet: u32,
    /// Packets marked instead of dropped.
    pub ecn_mark: u64,
    /// Packets dropped because the limit was reached.
    pub drop_overlimit: u64,
    /// Packets marked above `ce_threshold`.
    pub ce_mark: u64,
}

pub(crate) struct Codel<P> {
    codel: codel::Codel,
    state: State,
    queue: VecDeque<Waiting<P>>,
    limit: u64,
    drop_overlimit: u64,
}

fn options(codel: &spec::Codel, environment: &Environment) -> (Parameters, u64) {
    let codel = codel.with_defaults();
    let time = |time: Option<Duration>| Time::from_duration(time.unwrap_or_default());
    let parameters = Parameters {
        target: time(codel.target),
        interval: time(codel.interval),
        ce_threshold: codel.ce_threshold.map(Time::from_duration),
        ecn: codel.ecn.unwrap_or_default(),
        mtu: environment.mtu.into(),
    };
    (parameters, codel.limit.unwrap_or_default().into())
}

impl<P> Codel<P> {
    pub fn new(codel: &spec::Codel, environment: &Environment) -> Self {
        let (parameters, limit) = options(codel, environment);
        Codel {
            codel: codel::Codel::new(parameters),
            state: State::default(),
            queue: VecDeque::new(),
            limit,
            drop_overlimit: 0,
        }
    }
}

impl<P: Packet> Discipline<P> for Codel<P> {
    fn enqueue(&mut self, queued: Queued<P>, _: &Arrival, cx: &mut Context<'_, P>) {
        if self.queue.len() as u64 >= self.limit {
            self.drop_overlimit += 1;
            return cx.drop(queued, DropReason::Overlimit);
        }
        let since = Time::from_nanos(cx.now);
        self.queue.push_back(Waiting { queued, since });
    }

    fn dequeue(&mut self, cx: &mut Context<'_, P>) -> Dequeued<P> {
        let queue = &mut self.queue;
        let queued = self.codel.dequeue(&mut self.state, cx, || queue.pop_front());
        queued.map_or(Dequeued::Empty, Dequeued::Packet)
    }

    fn change(&mut self, kind: &QdiscKind, environment: &Environment) {
        let QdiscKind::Codel(codel) = kind else { return };
        (self.codel.parameters, self.limit) = options(codel, environment);
    }

    fn drain(&mut self, into: &mut Vec<Queued<P>>) {
        into.extend(self.queue.drain(..).map(|waiting| waiting.queued));
    }

    fn extra(&self) -> Extra {
        let (count, lastcount, dropping, delay) = self.state.counts();
        Extra::Codel(CodelStats {
            count,
            lastcount,
            ldelay: delay.as_nanos() / 1000,
            dropping,
            max_packet: self.codel.counts.max_packet,
            ecn_mark: self.codel.counts.marked,
            drop_overlimit: self.drop_overlimit,
            ce_mark: self.codel.counts.marked_above_threshold,
        })
    }
}
