//! Deficit round robin over flows: new ones first, for one quantum, then all others in turn.

use std::collections::VecDeque;

use super::flows::{Flow, Flows};
use crate::discipline::Queued;

/// Flows by their places in [`Flows`].
#[derive(Default)]
pub(super) struct Rounds {
    /// Those that have just begun to send.
    pub new: VecDeque<u32>,
    /// The others.
    pub old: VecDeque<u32>,
}

impl Rounds {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }

    /// No flow has turns any more.
    pub fn clear<P>(&mut self, flows: &mut Flows<P>) {
        for place in self.new.drain(..).chain(self.old.drain(..)) {
            if let Some(flow) = flows.get_mut(place) {
                flow.end();
            }
        }
    }

    /// The next packet, which `take` takes from the flow whose turn it is; nothing when all flows are empty.
    pub fn next<P>(
        &mut self,
        flows: &mut Flows<P>,
        quantum: i64,
        mut take: impl FnMut(&mut Flow<P>) -> Option<Queued<P>>,
    ) -> Option<Queued<P>> {
        loop {
            let from_new = !self.new.is_empty();
            let list = if from_new { &mut self.new } else { &mut self.old };
            let place = *list.front()?;
            let Some(flow) = flows.get_mut(place) else {
                list.pop_front();
                continue;
            };
            if flow.deficit <= 0 {
                flow.deficit += quantum;
                list.pop_front();
                self.old.push_back(place);
                continue;
            }
            if let Some(queued) = take(flow) {
                flow.deficit -= i64::from(queued.bytes);
                return Some(queued);
            }
            list.pop_front();
            // A flow that empties goes once around with the others, so that it can't starve them by beginning again and again.
            match from_new && !self.old.is_empty() {
                true => self.old.push_back(place),
                false => flow.end(),
            }
        }
    }
}
