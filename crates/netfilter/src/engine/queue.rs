//! Queued packets go on from where they waited.

use super::{Fate, Netfilter};
use crate::host::Host;
use crate::queue::{QueueAnswer, QueueHandler, QueueVerdict, Queued, StagePlace};
use crate::summed::Summed;
use crate::verdict::DropReason;
use crate::{Hook, Now, Packet};

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
            packet.summed = Summed::default();
            if let Err(malformed) = packet.reparse() {
                return Some(self.drop(&mut packet, DropReason::Malformed(malformed)).with(packet));
            }
        }
        let fate = match answer.verdict {
            QueueVerdict::Accept => {
                let from = self.resume_after(&packet, hook, stage);
                self.advance(hook, from, &mut packet, host, now).with(packet)
            }
            QueueVerdict::Repeat => {
                let from = self.resume_at(&packet, hook, stage);
                self.advance(hook, from, &mut packet, host, now).with(packet)
            }
            QueueVerdict::Drop => self.drop(&mut packet, DropReason::QueueVerdict { number }).with(packet),
            QueueVerdict::Queue(other) => match self.queues.park(other, false, hook, stage, &mut packet) {
                Ok(()) => Fate::Queued,
                Err(_) => self.drop(&mut packet, DropReason::Queue { number: other }).with(packet),
            },
        };
        self.send_answers(host, now);
        Some(fate)
    }

    /// The place of a hook's stage, to be found again later.
    pub(super) fn place_of(&self, packet: &Packet, hook: Hook, number: usize) -> StagePlace {
        let stages = &self.families[packet.headers.family as usize].hooks[hook.index()];
        let priority = stages.get(number).map_or(i32::MAX, |staged| staged.priority);
        StagePlace { number, priority }
    }

    /// The number of the stage at `place` now, or of the one that took its place: the first that is not before it.
    fn resume_at(&self, packet: &Packet, hook: Hook, place: StagePlace) -> usize {
        let stages = &self.families[packet.headers.family as usize].hooks[hook.index()];
        match stages.get(place.number) {
            Some(staged) if staged.priority == place.priority => place.number,
            _ => stages.partition_point(|staged| staged.priority < place.priority),
        }
    }

    /// The number of the first stage behind `place`. Rules may have been replaced since the packet was queued, and with tables
    /// the stages: a packet must not miss one of those that came.
    fn resume_after(&self, packet: &Packet, hook: Hook, place: StagePlace) -> usize {
        let at = self.resume_at(packet, hook, place);
        let stages = &self.families[packet.headers.family as usize].hooks[hook.index()];
        let still_there = stages.get(at).is_some_and(|staged| staged.priority == place.priority);
        at + usize::from(still_there)
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
