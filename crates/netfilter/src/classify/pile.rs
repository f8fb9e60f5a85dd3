//! Many rows that no cut tells apart, searched by boxes around boxes.
//!
//! Every eight rows in succession have a box around them, every eight of those boxes one more, and so on. Rules that stand
//! together are often alike (many of one source, many with nothing but `-m` matches), so a look at few boxes passes over
//! many rows; and since the boxes carry the greatest index within, a search that begins at a later index passes over all
//! rows before it. At worst it is a scan of all rows, an eighth more.

use super::row::{Lanes, Row};

const FANOUT: usize = 8;

/// The rows, and the boxes around them.
#[derive(Debug)]
pub(super) struct Pile<const N: usize> {
    /// Rows first, then the boxes around them, up to a level of at most [`FANOUT`].
    levels: Vec<Vec<Row<N>>>,
}

impl<const N: usize> Pile<N> {
    /// Of rows in the order of their indexes.
    pub(super) fn new(rows: Vec<Row<N>>) -> Self {
        let mut levels = vec![rows];
        while let Some(below) = levels.last()
            && below.len() > FANOUT
        {
            let mut boxes = Vec::with_capacity(below.len().div_ceil(FANOUT));
            boxes.extend(
                below
                    .chunks(FANOUT)
                    .filter_map(|rows| rows.iter().copied().reduce(|all, row| all.around(&row))),
            );
            levels.push(boxes);
        }
        Self { levels }
    }

    /// The smallest index at or above the key's, and less than `below`, whose row holds the key.
    pub(super) fn first(&self, key: &Lanes<N>, below: u32) -> Option<u32> {
        match search(&self.levels, 0, key, below) {
            Found::Index(index) => Some(index),
            Found::Nothing | Found::Beyond => None,
        }
    }

    /// Bytes held beside the pile itself.
    pub(super) fn memory(&self) -> usize {
        self.levels
            .iter()
            .map(|level| level.capacity() * size_of::<Row<N>>() + size_of::<Vec<Row<N>>>())
            .sum()
    }
}

enum Found {
    Index(u32),
    Nothing,
    /// What follows has greater indexes than are wanted.
    Beyond,
}

/// Looks at the group of boxes numbered `group` of the topmost of the levels. Recursion is as deep as there are levels: eleven at
/// most, as indexes have 32 bits.
fn search<const N: usize>(levels: &[Vec<Row<N>>], group: usize, key: &Lanes<N>, below: u32) -> Found {
    let Some((top, lower)) = levels.split_last() else {
        return Found::Nothing;
    };
    let start = group * FANOUT;
    let end = top.len().min(start + FANOUT);
    for (position, row) in (start..end).zip(top.get(start..end).unwrap_or_default()) {
        if row.holds(key) {
            if lower.is_empty() {
                return if row.index() < below {
                    Found::Index(row.index())
                } else {
                    Found::Beyond
                };
            }
            match search(lower, position, key, below) {
                Found::Nothing => {}
                found => return found,
            }
        }
        if row.index() >= below {
            return Found::Beyond;
        }
    }
    Found::Nothing
}
