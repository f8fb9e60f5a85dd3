//! All rules that hold one packet, one after the other.

use super::forest::{Forest, MAX_TREES};
use super::row::{self, Lanes, V4_LANES, V6_LANES};
use super::slot::Slot;
use super::{Classifier, Key, Trees};

/// What [`Classifier::matches`] returns.
#[derive(Debug)]
pub struct Matches<'a> {
    classifier: &'a Classifier,
    key: Key,
    from: u32,
    ends: [End; MAX_TREES],
}

/// Where a tree's path ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Not walked yet.
    Unknown,
    /// There; from the search's place on the tree has no smaller index than this.
    Known { slot: Slot, least: Least },
}

#[derive(Clone, Copy, Debug)]
enum Least {
    /// This is the next one.
    Found(u32),
    /// The next one is not below this.
    AtLeast(u32),
}

impl<'a> Matches<'a> {
    pub(super) fn new(classifier: &'a Classifier, key: &Key, from: u32) -> Self {
        Self {
            classifier,
            key: *key,
            from,
            ends: [End::Unknown; MAX_TREES],
        }
    }
}

impl Iterator for Matches<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            let Self { key, from, ends, .. } = self;
            let index = match &self.classifier.trees {
                Trees::V4(forest) => next::<V4_LANES>(forest, ends, &row::v4(key, *from)),
                Trees::V6(forest) => next::<V6_LANES>(forest, ends, &row::v6(key, *from)),
            }?;
            self.from = index.checked_add(1)?;
            if self.classifier.holds(&self.key, index) {
                return Some(index);
            }
        }
    }
}

/// As [`Forest::first`], with what is known of each tree kept.
#[inline]
fn next<const N: usize>(forest: &Forest<N>, ends: &mut [End; MAX_TREES], key: &Lanes<N>) -> Option<u32> {
    let from = key.least_index();
    let mut best = u32::MAX;
    for (tree, end) in forest.trees.iter().zip(ends) {
        if tree.first >= best {
            break;
        }
        let slot = match *end {
            End::Unknown => forest.walk(tree.root, key),
            End::Known { slot, least } => match least {
                Least::Found(index) if index >= from => {
                    best = best.min(index);
                    continue;
                }
                Least::AtLeast(index) if index >= best => continue,
                Least::Found(_) | Least::AtLeast(_) => slot,
            },
        };
        let least = match forest.first_in(slot, key, best) {
            Some(index) => {
                best = index;
                Least::Found(index)
            }
            None => Least::AtLeast(best),
        };
        *end = End::Known { slot, least };
    }
    (best != u32::MAX).then_some(best)
}
