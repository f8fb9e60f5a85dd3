//! Queued packets go on from where they waited.

use super::{Fate, Netfilter};
use crate::Now;
use crate::host::Host;
use crate::queue::{QueueAnswer, QueueHandler, QueueVerdict, Queued};
use crate::verdict::DropReason;

impl Netfilter {
    /// The next packet that waits in a queue.
    pub fn next_queued(&mut self, number: u16) -> Option<&Queued> {
        self.queues.take(number)
    }

    /// A handler's answer: the packet goes on from where it waited. `None`: no such packet waits there.
    pub fn reinject(&mut self, number: u16, id: u64, answer: QueueAnswer, host: &mut dyn Host, now: Now) -> Option<Fate> {
        let Queued {
            hook, mut packet, stage, ..
        } = self.queues.settle(number, id)?;
        if let Some(mark) = answer.mark {
            packet.mark = mark;
        }
        if let Some(data) = answer.data {
            packet.data = data;
            if let Err(malformed) = packet.reparse() {
                return Some(self.drop(&mut packet, DropReason::Malformed(malformed)).with(packet));
            }
        }
        let fate = match answer.verdict {
            QueueVerdict::Accept => self.advance(hook, stage + 1, &mut packet, host, now).with(packet),
            QueueVerdict::Repeat => self.advance(hook, stage, &mut packet, host, now).with(packet),
            QueueVerdict::Drop => self.drop(&mut packet, DropReason::QueueVerdict { number }).with(packet),
            QueueVerdict::Queue(other) => match self.queues.park(other, false, hook, stage, &mut packet) {
                Ok(()) => Fate::Queued,
                Err(_) => self.drop(&mut packet, DropReason::Queue { number: other }).with(packet),
            },
        };
        self.send_answers(host, now);
        Some(fate)
    }

    /// Lets `handler` judge everything that waits in a queue now, at most the queue's length of packets; calls `done` with
    /// each packet's fate.
    pub fn handle_queue(
        &mut self,
        number: u16,
        handler: &mut dyn QueueHandler,
        host: &mut dyn Host,
        now: Now,
        mut done: impl FnMut(Fate),
    ) {
        let waiting = self.queues.statistics(number).map_or(0, |statistics| statistics.waiting);
        for _ in 0..waiting {
            let Some(queued) = self.queues.take(number) else {
                return;
            };
            let (id, answer) = (queued.id, handler.handle(&queued.packet, queued.hook));
            if let Some(fate) = self.reinject(number, id, answer, host, now) {
                done(fate);
            }
        }
    }
}
