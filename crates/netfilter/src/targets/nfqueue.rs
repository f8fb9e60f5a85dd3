//! `-j NFQUEUE` (`xt_NFQUEUE.c`).

use crate::Packet;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j NFQUEUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nfqueue {
    /// The queue, or the first of several.
    pub queue: u16,
    /// How many queues; flows are spread over them.
    pub total: u16,
    /// `--queue-bypass`: accept when nobody handles the queue.
    pub bypass: bool,
    /// `--queue-cpu-fanout`: spread by processor, not by flow.
    pub cpu_fanout: bool,
}

impl Default for Nfqueue {
    fn default() -> Nfqueue {
        Nfqueue {
            queue: 0,
            total: 1,
            bypass: false,
            cpu_fanout: false,
        }
    }
}

impl Nfqueue {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.total == 0 {
            return Err(CheckError("NFQUEUE: the number of queues is 0".to_owned()));
        }
        if u32::from(self.queue) + u32::from(self.total) - 1 > 0xffff {
            return Err(CheckError("NFQUEUE: the last queue is beyond 65535".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let offset = match u32::from(self.total) {
            0 | 1 => 0,
            total if self.cpu_fanout => cx.host.cpu() % total,
            // The hash scaled to the number of queues, as reciprocal_scale does.
            total => ((u64::from(flow_hash(cx.packet)) * u64::from(total)) >> 32) as u32,
        };
        TargetVerdict::Queue {
            number: self.queue.wrapping_add(offset as u16),
            bypass: self.bypass,
        }
    }
}

/// The same number for both directions between two hosts, spread over 32 bits. The kernel hashes addresses and (IPv4) the
/// protocol too, with a seed of its own, so which queue it is can't be compared, only that a flow keeps to one.
fn flow_hash(packet: &Packet) -> u32 {
    let headers = &packet.headers;
    let (low, high) = if headers.src < headers.dst {
        (headers.src, headers.dst)
    } else {
        (headers.dst, headers.src)
    };
    let mut hash = u64::from(headers.protocol);
    for word in [low.hi, low.lo, high.hi, high.lo] {
        // The finalizer of splitmix64.
        hash = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    (hash >> 32) as u32
}
