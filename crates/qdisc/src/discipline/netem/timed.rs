//! Packets by the time at which they may leave; of those with one time, the first to come goes first (`tfifo_enqueue`).

use std::collections::{BTreeMap, VecDeque};

pub(super) struct Timed<T> {
    /// Those that came in the order of their times: all of them without jitter.
    line: VecDeque<(u64, T)>,
    /// Those that overtake the end of the line, with a number so that equal times keep their order.
    early: BTreeMap<(u64, u64), T>,
    number: u64,
}

impl<T> Timed<T> {
    pub fn new() -> Self {
        Timed {
            line: VecDeque::new(),
            early: BTreeMap::new(),
            number: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.line.len() + self.early.len()
    }

    pub fn push(&mut self, time: u64, item: T) {
        if self.line.back().is_none_or(|(last, _)| time >= *last) {
            self.line.push_back((time, item));
        } else {
            self.number += 1;
            self.early.insert((time, self.number), item);
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.line.iter().map(|(_, item)| item).chain(self.early.values())
    }

    /// The earliest time.
    pub fn first(&self) -> Option<u64> {
        let line = self.line.front().map(|(time, _)| *time);
        let early = self.early.first_key_value().map(|((time, _), _)| *time);
        line.into_iter().chain(early).min()
    }

    /// The latest time.
    pub fn last(&self) -> Option<u64> {
        let line = self.line.back().map(|(time, _)| *time);
        let early = self.early.last_key_value().map(|((time, _), _)| *time);
        line.into_iter().chain(early).max()
    }

    /// Takes the earliest.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let line = self.line.front().map(|(time, _)| *time);
        match self.early.first_entry() {
            Some(early) if line.is_none_or(|line| early.key().0 < line) => {
                let ((time, _), item) = early.remove_entry();
                Some((time, item))
            }
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
