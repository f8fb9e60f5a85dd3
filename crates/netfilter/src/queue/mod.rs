//! Packets that wait for a handler (`nfnetlink_queue.c`): bounded queues by number.
//!
//! A handler is a [`QueueHandler`]: in this process, in another one over a socket ([`protocol`]), or on the kernel's own queues.

pub mod protocol;

use std::collections::{HashMap, VecDeque};

use crate::{Hook, Packet};

/// Longest queue when the handler asks for no other (`NFQNL_QMAX_DEFAULT`).
pub const DEFAULT_LENGTH: usize = 1024;

/// What a handler decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueVerdict {
    /// The packet goes on behind the rule that queued it.
    Accept,
    /// It ends.
    Drop,
    /// The hook function that queued it sees it once more.
    Repeat,
    /// To another queue.
    Queue(u16),
}

/// A handler's whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAnswer {
    /// The verdict.
    pub verdict: QueueVerdict,
    /// The packet's new mark, if it changes.
    pub mark: Option<u32>,
    /// The packet's new bytes, if they change.
    pub data: Option<Vec<u8>>,
}

impl QueueAnswer {
    /// The verdict alone.
    pub const fn plain(verdict: QueueVerdict) -> QueueAnswer {
        QueueAnswer {
            verdict,
            mark: None,
            data: None,
        }
    }
}

/// A handler in this process. The same handler can run on the kernel's nfnetlink_queue.
pub trait QueueHandler: Send {
    /// Judges a packet that came through `hook`.
    fn handle(&mut self, packet: &Packet, hook: Hook) -> QueueAnswer;
}

/// A stage of a hook, so that it is found again when stages came or went meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StagePlace {
    pub(crate) number: usize,
    pub(crate) priority: i32,
}

/// A packet that waits.
#[derive(Debug)]
pub struct Queued {
    /// Its number, given back with the verdict. Never used twice.
    pub id: u64,
    /// The hook it waits at.
    pub hook: Hook,
    /// The packet.
    pub packet: Packet,
    /// Which stage of the hook queued it.
    pub(crate) stage: StagePlace,
}

/// Counts of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Packets that came.
    pub queued: u64,
    /// Packets dropped because the queue was full.
    pub full: u64,
    /// Packets that wait now.
    pub waiting: usize,
}

#[derive(Debug)]
struct Queue {
    length: usize,
    /// Not yet given to the handler.
    fresh: VecDeque<Queued>,
    /// Given to the handler; its verdict is awaited.
    given: HashMap<u64, Queued>,
    queued: u64,
    full: u64,
}

/// The queues that have handlers.
#[derive(Debug, Default)]
pub struct Queues {
    queues: HashMap<u16, Queue>,
    next: u64,
    /// Packets for queues that nobody handles.
    unhandled: u64,
}

impl Queues {
    /// Opens a queue of at most `length` waiting packets. `false`: it has a handler already.
    pub(crate) fn bind(&mut self, number: u16, length: usize) -> bool {
        if self.queues.contains_key(&number) {
            return false;
        }
        self.queues.insert(
            number,
            Queue {
                length,
                fresh: VecDeque::new(),
                given: HashMap::new(),
                queued: 0,
                full: 0,
            },
        );
        true
    }

    /// Closes a queue. What waits there comes back, to be dropped.
    pub(crate) fn unbind(&mut self, number: u16) -> Vec<Queued> {
        self.queues
            .remove(&number)
            .map(|queue| queue.fresh.into_iter().chain(queue.given.into_values()).collect())
            .unwrap_or_default()
    }

    /// Takes a packet into a queue. When it can't stay, it is left as it is, and the error says whether it is to go on (`bypass`;
    /// a full queue drops even so, as in the kernel without NFQA_CFG_F_FAIL_OPEN).
    pub(crate) fn park(
        &mut self,
        number: u16,
        bypass: bool,
        hook: Hook,
        stage: StagePlace,
        packet: &mut Packet,
    ) -> Result<(), bool> {
        let Some(queue) = self.queues.get_mut(&number) else {
            self.unhandled += 1;
            return Err(bypass);
        };
        if queue.fresh.len() + queue.given.len() >= queue.length {
            queue.full += 1;
            return Err(false);
        }
        self.next += 1;
        queue.queued += 1;
        let left = Packet::empty(packet.headers);
        queue.fresh.push_back(Queued {
            id: self.next,
            hook,
            packet: std::mem::replace(packet, left),
            stage,
        });
        Ok(())
    }

    /// The next packet for the handler of a queue; it waits on until the verdict comes.
    pub fn take(&mut self, number: u16) -> Option<&Queued> {
        let queue = self.queues.get_mut(&number)?;
        let queued = queue.fresh.pop_front()?;
        Some(queue.given.entry(queued.id).or_insert(queued))
    }

    /// Takes out a packet that was given to the handler.
    pub(crate) fn settle(&mut self, number: u16, id: u64) -> Option<Queued> {
        self.queues.get_mut(&number)?.given.remove(&id)
    }

    /// Counts of a queue; `None` when nobody handles it.
    pub fn statistics(&self, number: u16) -> Option<QueueStatistics> {
        self.queues.get(&number).map(|queue| QueueStatistics {
            queued: queue.queued,
            full: queue.full,
            waiting: queue.fresh.len() + queue.given.len(),
        })
    }

    /// Packets that met a queue without a handler.
    pub const fn unhandled(&self) -> u64 {
        self.unhandled
    }
}
