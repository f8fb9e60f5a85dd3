//! Which counters of a session were seen: a window of bits that moves without shifting (RFC 6479).

use crate::limits::REJECT_AFTER_MESSAGES;

const WORDS: usize = 128;
const BITS: u64 = u64::BITS as u64;

/// How far behind the highest counter a message may still come: all bits but the word that is being filled
/// (the kernel's `COUNTER_WINDOW_SIZE`).
pub const WINDOW: u64 = WORDS as u64 * BITS - BITS;

/// The window of one session: 8,192 bits in a ring of words.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// The highest counter seen and one more; 0 before the first.
    next: u64,
    ring: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            next: 0,
            ring: [0; WORDS],
        }
    }

    /// Whether [`ReplayWindow::check_and_set`] would take the counter: for before the decryption.
    #[inline]
    pub fn would_accept(&self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        let place = counter + 1;
        if place > self.next {
            return true;
        }
        place + WINDOW >= self.next && self.ring[word(place)] & bit(place) == 0
    }

    /// Marks the counter as seen; false when it was seen before, is too old to tell, or too high for a session.
    /// To be called only for messages that proved authentic.
    #[inline]
    pub fn check_and_set(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        // One more than the counter, so that zero means that nothing came yet; as the limit above is far below the
        // type's, neither this nor the sum below overflows.
        let place = counter + 1;
        if place + WINDOW < self.next {
            return false;
        }
        if place > self.next {
            let steps = (place / BITS - self.next / BITS).min(WORDS as u64);
            for step in 1..=steps {
                self.ring[word(self.next + step * BITS)] = 0;
            }
            self.next = place;
        }
        let word = &mut self.ring[word(place)];
        let fresh = *word & bit(place) == 0;
        *word |= bit(place);
        fresh
    }
}

#[inline]
fn word(place: u64) -> usize {
    (place / BITS) as usize % WORDS
}

#[inline]
fn bit(place: u64) -> u64 {
    1 << (place % BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const LIMIT: u64 = WINDOW + 1;

    /// Asks both functions, which must agree, and that asking changes nothing.
    fn try_counter(window: &mut ReplayWindow, counter: u64) -> bool {
        let expected = window.would_accept(counter);
        assert_eq!(window.would_accept(counter), expected);
        let accepted = window.check_and_set(counter);
        assert_eq!(accepted, expected, "counter {counter}");
        accepted
    }

    /// The steps of the kernel's selftest/counter.c; the reasons are RFC 6479's.
    #[test]
    fn the_steps_of_the_kernels_selftest() {
        let top = REJECT_AFTER_MESSAGES;
        let steps = [
            (0, true),
            (1, true),
            (1, false),
            (9, true),
            // Out of order, each once.
            (8, true),
            (7, true),
            (7, false),
            (LIMIT, true),
            (LIMIT - 1, true),
            (LIMIT - 1, false),
            (LIMIT - 2, true),
            (2, true),
            (2, false),
            (LIMIT + 16, true),
            // Now too old.
            (3, false),
            (LIMIT + 16, false),
            // The whole window passes.
            (LIMIT * 4, true),
            (LIMIT * 4 - (LIMIT - 1), true),
            (10, false),
            (LIMIT * 4 - LIMIT, false),
            (LIMIT * 4 - (LIMIT + 1), false),
            (LIMIT * 4 - (LIMIT - 2), true),
            (LIMIT * 4 + 1 - LIMIT, false),
            (0, false),
            // The end of a session's counters.
            (top, false),
            (top - 1, true),
            (top, false),
            (top - 1, false),
            (top - 2, true),
            (top + 1, false),
            (top + 2, false),
            (top - 2, false),
            (top - 3, true),
            (0, false),
            (u64::MAX, false),
        ];
        let mut window = ReplayWindow::new();
        for (step, (counter, accepted)) in steps.into_iter().enumerate() {
            assert_eq!(try_counter(&mut window, counter), accepted, "step {step}, counter {counter}");
        }
    }

    #[test]
    fn a_full_window_takes_each_counter_once() {
        /// All accepted in this order, then this one more or not.
        type Case = (Vec<u64>, &'static [(u64, bool)]);
        let cases: [Case; 6] = [
            ((1..=WINDOW).collect(), &[(0, true), (0, false)]),
            ((2..=WINDOW + 1).collect(), &[(1, true), (0, false)]),
            ((0..=WINDOW).rev().collect(), &[]),
            ((1..=WINDOW + 1).rev().collect(), &[(0, false)]),
            ((1..=WINDOW).rev().collect(), &[(WINDOW + 1, true), (0, false)]),
            ((1..=WINDOW).rev().collect(), &[(0, true), (WINDOW + 1, true)]),
        ];
        for (counters, then) in cases {
            let mut window = ReplayWindow::new();
            for &counter in &counters {
                assert!(try_counter(&mut window, counter), "counter {counter}");
            }
            for &(counter, accepted) in then {
                assert_eq!(try_counter(&mut window, counter), accepted, "counter {counter}");
            }
            for counter in counters {
                assert!(!try_counter(&mut window, counter), "counter {counter} again");
            }
        }
    }

    #[test]
    fn random_orders_agree_with_a_set() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut window = ReplayWindow::new();
            let mut seen = HashSet::new();
            let mut highest: Option<u64> = None;
            // How far the sender's messages are shuffled and how often it jumps ahead.
            let spread = 1 << (seed % 15);
            let mut base = 0;
            for _ in 0..20_000 {
                base += random.u64(..3);
                if random.u32(..1_000) == 0 {
                    base += random.u64(..20_000);
                }
                let counter = base.saturating_sub(random.u64(..spread));
                let too_old = highest.is_some_and(|highest| counter + WINDOW < highest);
                let expected = !too_old && !seen.contains(&counter);
                assert_eq!(
                    try_counter(&mut window, counter),
                    expected,
                    "seed {seed}, counter {counter}, highest {highest:?}"
                );
                if expected {
                    seen.insert(counter);
                    highest = highest.max(Some(counter));
                }
            }
        }
    }
}
