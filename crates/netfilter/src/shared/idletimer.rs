//! Timers that packets restart (`xt_IDLETIMER.c`).

use std::collections::{BTreeSet, HashMap};

use super::MAX_NAMES;
use crate::Now;

/// All timers by label.
#[derive(Debug, Default)]
pub struct Timers {
    ends: HashMap<Box<str>, u64>,
    by_end: BTreeSet<(u64, Box<str>)>,
}

impl Timers {
    /// Restarts a timer; beyond [`MAX_NAMES`] new ones are not made.
    pub(crate) fn restart(&mut self, label: &str, seconds: u32, now: u64) {
        let end = now.saturating_add(u64::from(seconds) * Now::SECOND);
        let room = self.ends.len() < MAX_NAMES;
        match self.ends.get_mut(label) {
            Some(old) => {
                self.by_end.remove(&(*old, Box::from(label)));
                self.by_end.insert((end, label.into()));
                *old = end;
            }
            None if room => {
                self.ends.insert(label.into(), end);
                self.by_end.insert((end, label.into()));
            }
            None => {}
        }
    }

    /// When the next timer ends, in nanoseconds of [`crate::Now::mono`].
    pub fn next_end(&self) -> Option<u64> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// A timer that has ended since it was restarted; it is forgotten. The kernel notifies readers of its file in sysfs then.
    pub fn poll(&mut self, now: u64) -> Option<Box<str>> {
        if self.next_end()? > now {
            return None;
        }
        let (_, label) = self.by_end.pop_first()?;
        self.ends.remove(&label);
        Some(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_restarts_the_timer() {
        let mut timers = Timers::default();
        timers.restart("a", 10, 0);
        timers.restart("b", 5, 0);
        timers.restart("a", 10, 3 * Now::SECOND);
        assert_eq!(timers.poll(4 * Now::SECOND), None);
        assert_eq!(timers.poll(12 * Now::SECOND).as_deref(), Some("b"));
        assert_eq!(timers.poll(12 * Now::SECOND), None);
        assert_eq!(timers.next_end(), Some(13 * Now::SECOND));
        assert_eq!(timers.poll(13 * Now::SECOND).as_deref(), Some("a"));
        assert_eq!(timers.poll(u64::MAX), None);
    }
}
