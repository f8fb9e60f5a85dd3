//! Several search trees that together hold all rules.
//!
//! Rules that leave a field open would have to stand behind every value of a cut by it. So a tree takes only the rules
//! its cuts tell apart, and what remains goes to the next tree, which cuts by other fields. A search walks one path in
//! each tree and takes the smallest index found.

use super::pile::Pile;
use super::row::{Lanes, Row};
use super::slot::{Hash, Slot};

/// Trees at most. The last is a leaf or pile of all that no cut tells apart.
pub(super) const MAX_TREES: usize = 10;

/// All trees' parts, each kind in one array.
#[derive(Debug, Default)]
pub(super) struct Forest<const N: usize> {
    pub(super) trees: Vec<Tree>,
    pub(super) slots: Vec<Slot>,
    /// Leaves' rows.
    pub(super) rows: Vec<Row<N>>,
    pub(super) piles: Vec<Pile<N>>,
}

/// One tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    /// The smallest rule index in it.
    pub(super) first: u32,
    pub(super) root: Slot,
}

impl<const N: usize> Forest<N> {
    /// The smallest index at or above the key's of a row that holds the key.
    #[inline]
    pub(super) fn first(&self, key: &Lanes<N>) -> Option<u32> {
        let mut best = u32::MAX;
        for tree in &self.trees {
            // Trees stand in the order of their smallest indexes.
            if tree.first >= best {
                break;
            }
            if let Some(index) = self.first_in(self.walk(tree.root, key), key, best) {
                best = index;
            }
        }
        (best != u32::MAX).then_some(best)
    }

    /// From a node down to the leaf or pile of the key.
    #[inline]
    pub(super) fn walk(&self, mut slot: Slot, key: &Lanes<N>) -> Slot {
        while let Slot::Node { cut, at, .. } = slot {
            let hash = Hash::of(key.value(cut.lane()) >> cut.shift());
            let next = self.slots.get(at as usize + cut.slot(hash));
            slot = next.copied().unwrap_or_default().admit(hash);
        }
        slot
    }

    /// The same within a leaf or pile, below an index found elsewhere.
    #[inline]
    pub(super) fn first_in(&self, slot: Slot, key: &Lanes<N>, below: u32) -> Option<u32> {
        match slot {
            Slot::Empty | Slot::Node { .. } => None,
            Slot::Leaf { rows, at, .. } => {
                let at = at as usize;
                let rows = self.rows.get(at..at + usize::from(rows))?;
                for row in rows {
                    if row.holds(key) {
                        return (row.index() < below).then_some(row.index());
                    }
                    if row.index() >= below {
                        break;
                    }
                }
                None
            }
            Slot::Pile { at, .. } => self.piles.get(at as usize)?.first(key, below),
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.trees.capacity() * size_of::<Tree>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.rows.capacity() * size_of::<Row<N>>()
            + self.piles.capacity() * size_of::<Pile<N>>()
            + self.piles.iter().map(Pile::memory).sum::<usize>()
    }
}
