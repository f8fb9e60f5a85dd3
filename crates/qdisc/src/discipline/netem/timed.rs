//! Packets by the time at which they may leave; of those with one time, the first to come goes first (`tfifo_enqueue`).

use std::collections::VecDeque;

use crate::wheel::Wheel;

pub(super) struct Timed<T> {
    /// Those that came in the order of their times: all of them without jitter.
    line: VecDeque<(u64, T)>,
    /// Those that overtake the end of the line, in a timing wheel.
    early: Wheel<T>,
}

impl<T> Timed<T> {
    pub fn new() -> Self {
        Timed {
            line: VecDeque::new(),
            early: Wheel::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.line.len() + self.early.len()
    }

    pub fn push(&mut self, time: u64, item: T) {
        if self.line.back().is_none_or(|(last, _)| time >= *last) {
            self.line.push_back((time, item));
        } else {
            self.early.push(time, item);
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.line.iter().map(|(_, item)| item).chain(self.early.iter())
    }

    /// The earliest time.
    pub fn first(&mut self) -> Option<u64> {
        let line = self.line.front().map(|(time, _)| *time);
        let early = self.early.first();
        line.into_iter().chain(early).min()
    }

    /// The latest time.
    pub fn last(&self) -> Option<u64> {
        let line = self.line.back().map(|(time, _)| *time);
        let early = self.early.last();
        line.into_iter().chain(early).max()
    }

    /// Takes the earliest.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let line = self.line.front().map(|(time, _)| *time);
        match self.early.first() {
            Some(early) if line.is_none_or(|line| early < line) => self.early.pop(),
            _ => self.line.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_leaves_first_and_equals_in_order() {
        let mut timed = Timed::new();
        for (number, time) in [50, 10, 60, 10, 60, 55, 5, 50].into_iter().enumerate() {
            timed.push(time, number);
        }
        assert_eq!((timed.len(), timed.first(), timed.last()), (8, Some(5), Some(60)));
        let order: Vec<_> = std::iter::from_fn(|| timed.pop()).collect();
        let expected = [(5, 6), (10, 1), (10, 3), (50, 0), (50, 7), (55, 5), (60, 2), (60, 4)];
        assert_eq!(order, expected);
        assert_eq!((timed.len(), timed.first(), timed.last()), (0, None, None));
    }
}
