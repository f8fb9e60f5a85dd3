//! The flows' queues, and which of them a packet goes into.

use std::collections::VecDeque;

use fielato_wire::Headers;

use crate::codel::{State, Waiting};
use crate::flow::{FlowKey, bucket};

/// Buckets that are tried before two flows share one. Eight ways are what CAKE has.
const WAYS: u32 = 8;

/// An empty queue gives back room for more packets than this.
const KEPT_ROOM: usize = 16;

/// A flow, or several that share a bucket.
pub(super) struct Flow<P> {
    pub queue: VecDeque<Waiting<P>>,
    /// Bytes that wait.
    pub backlog: u64,
    /// Bytes it may send before the next one's turn.
    pub deficit: i64,
    pub codel: State,
    /// The host it belongs to while it has its turns.
    pub host: u32,
    /// Its whole hash, where flows are kept apart.
    tag: u64,
    /// It has its turns.
    listed: bool,
}

impl<P> Flow<P> {
    fn new() -> Self {
        Flow {
            queue: VecDeque::new(),
            backlog: 0,
            deficit: 0,
            codel: State::default(),
            host: 0,
            tag: 0,
            listed: false,
        }
    }

    pub fn push(&mut self, waiting: Waiting<P>) {
        self.backlog += u64::from(waiting.queued.bytes);
        self.queue.push_back(waiting);
    }

    pub fn pop(&mut self) -> Option<Waiting<P>> {
        let waiting = self.queue.pop_front()?;
        self.backlog = self.backlog.saturating_sub(waiting.queued.bytes.into());
        Some(waiting)
    }

    /// It has no more turns. What CoDel knows of it stays.
    pub fn end(&mut self) {
        self.listed = false;
        if self.queue.is_empty() && self.queue.capacity() > KEPT_ROOM {
            self.queue = VecDeque::new();
        }
    }
}

/// All flows of a discipline. Buckets are many and mostly unused, so flows are made when a packet first comes.
pub(super) struct Flows<P> {
    /// The flow of each bucket, plus one; 0 for none yet.
    buckets: Vec<u32>,
    flows: Vec<Flow<P>>,
    seed: u64,
}

impl<P> Flows<P> {
    pub fn new(count: u32, seed: u64) -> Self {
        Flows {
            buckets: vec![0; count.max(1) as usize],
            flows: Vec::new(),
            seed,
        }
    }

    pub fn get_mut(&mut self, place: u32) -> Option<&mut Flow<P>> {
        self.flows.get_mut(place as usize)
    }

    fn hash(&self, headers: Option<&Headers>) -> u64 {
        headers.map_or(0, |headers| FlowKey::of(headers).hash(self.seed))
    }

    /// The place of a packet's flow, by hash alone: flows may meet in one bucket.
    pub fn place(&mut self, headers: Option<&Headers>) -> u32 {
        let at = bucket(self.hash(headers), self.buckets.len() as u32);
        self.flow_at(at)
    }

    /// The place of a packet's flow, which it shares with another only when all its buckets are taken, and then rather with one
    /// of the same host.
    pub fn place_apart(&mut self, headers: Option<&Headers>, same_host: impl Fn(u32) -> bool) -> u32 {
        let count = self.buckets.len() as u32;
        let hash = self.hash(headers);
        let first = bucket(hash, count);
        let (mut free, mut shared) = (None, None);
        for way in 0..WAYS.min(count) {
            let at = (first + way) % count;
            let known = self.buckets.get(at as usize).and_then(|place| place.checked_sub(1));
            match known.and_then(|place| Some((place, self.flows.get(place as usize)?))) {
                Some((place, flow)) if flow.tag == hash => return place,
                Some((place, flow)) if flow.listed => {
                    if same_host(flow.host) {
                        shared = shared.or(Some(place));
                    }
                }
                _ => free = free.or(Some(at)),
            }
        }
        match (free, shared) {
            (Some(at), _) => {
                let place = self.flow_at(at);
                if let Some(flow) = self.get_mut(place) {
                    flow.tag = hash;
                    flow.codel = State::default();
                }
                place
            }
            (None, Some(place)) => place,
            (None, None) => self.flow_at(first),
        }
    }

    fn flow_at(&mut self, bucket: u32) -> u32 {
        let next = self.flows.len() as u32;
        match self.buckets.get_mut(bucket as usize) {
            Some(0) | None => {}
            Some(place) => return *place - 1,
        }
        if let Some(entry) = self.buckets.get_mut(bucket as usize) {
            *entry = next + 1;
        }
        self.flows.push(Flow::new());
        next
    }

    /// Gives a flow its first turn, of `quantum` bytes; nothing when it has its turns already.
    pub fn begin(&mut self, place: u32, quantum: i64) -> Option<&mut Flow<P>> {
        let flow = self.get_mut(place).filter(|flow| !flow.listed)?;
        flow.listed = true;
        flow.deficit = quantum;
        Some(flow)
    }

    /// The flow with the most bytes; the first of several.
    pub fn longest(&mut self) -> Option<&mut Flow<P>> {
        let mut longest = 0;
        let mut found = None;
        for (place, flow) in self.flows.iter().enumerate() {
            if flow.backlog > longest {
                longest = flow.backlog;
                found = Some(place);
            }
        }
        self.flows.get_mut(found?)
    }

    /// Everything that waits, each flow in its order; no flow has turns any more.
    pub fn take(&mut self) -> Vec<Waiting<P>> {
        let mut all = Vec::new();
        for flow in &mut self.flows {
            all.extend(flow.queue.drain(..));
            flow.backlog = 0;
            flow.end();
        }
        all
    }
}
