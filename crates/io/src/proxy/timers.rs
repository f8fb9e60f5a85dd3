//! When what is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::engine::Token;

/// Deadlines. One that was moved to later stays where it is, and its owner asks for a new one when it comes up.
#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Token)>>);

/// What an owner remembers: its earliest deadline in the heap.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scheduled(Option<Instant>);

impl Timers {
    /// Comes up at `at`, or before.
    pub(super) fn schedule(&mut self, token: Token, scheduled: &mut Scheduled, at: Instant) {
        if scheduled.0.is_none_or(|already| at < already) {
            scheduled.0 = Some(at);
            self.0.push(Reverse((at, token)));
        }
    }

    /// The next one that is due. Its owner may be gone, or have meant a later time: [`Scheduled::came_up`].
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Token)> {
        let Reverse((at, _)) = *self.0.peek()?;
        if at > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

impl Scheduled {
    /// The deadline `at` came up. `false` when an earlier one had replaced it, so that nothing is to be done.
    pub(super) fn came_up(&mut self, at: Instant) -> bool {
        let current = self.0 == Some(at);
        if current {
            self.0 = None;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_counts_and_replaced_ones_do_nothing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut timers, mut scheduled) = (Timers::default(), Scheduled::default());
        let token = Token::Tcp(7);
        timers.schedule(token, &mut scheduled, at(5));
        timers.schedule(token, &mut scheduled, at(9));
        timers.schedule(token, &mut scheduled, at(2));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop(at(1)), None);

        assert_eq!(timers.pop(at(6)), Some((at(2), token)));
        assert!(scheduled.came_up(at(2)));
        assert_eq!(timers.pop(at(6)), Some((at(5), token)));
        assert!(!scheduled.came_up(at(5)));
        assert_eq!((timers.pop(at(100)), timers.next()), (None, None));
    }
}
