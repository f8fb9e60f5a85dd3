//! The rounds in which classes take turns: which of a number of places are taken, and whose turn it is.
//!
//! The kernel keeps trees sorted by class identifier and a pointer into each (`htb_add_to_id_tree`). With places in the order of the
//! identifiers, a set of bits does the same: whose turn it is is a place, and who leaves and comes back before another's turn goes on
//! with its own.

/// Bits in a word, and words in a word of the summary.
const BITS: u32 = 64;

/// A set of places and the turn.
#[derive(Default, Clone)]
pub(super) struct Round {
    /// A bit for each taken place; made when the first is taken.
    words: Vec<u64>,
    /// A bit for each word that is not 0.
    summary: Vec<u64>,
    taken: u32,
    /// It is the turn of the first taken place from here on.
    turn: u32,
}

impl Round {
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Takes a place of `count`.
    pub fn insert(&mut self, place: u32, count: u32) {
        let word = (place / BITS) as usize;
        if self.words.len() <= word {
            self.words.resize(count.div_ceil(BITS).max(word as u32 + 1) as usize, 0);
            self.summary.resize(self.words.len().div_ceil(BITS as usize), 0);
        }
        let bit = 1 << (place % BITS);
        self.taken += u32::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.summary[word / BITS as usize] |= 1 << (word as u32 % BITS);
    }

    /// Leaves a place.
    pub fn remove(&mut self, place: u32) {
        let word = (place / BITS) as usize;
        let Some(bits) = self.words.get_mut(word) else { return };
        let bit = 1 << (place % BITS);
        self.taken -= u32::from(*bits & bit != 0);
        *bits &= !bit;
        if *bits == 0 {
            self.summary[word / BITS as usize] &= !(1 << (word as u32 % BITS));
        }
    }

    /// Whose turn it is; `None` when the round has ended, after which a new one begins.
    pub fn turn(&mut self) -> Option<u32> {
        let turn = self.from(self.turn);
        self.turn = turn.unwrap_or(0);
        turn
    }

    /// `place` has had its turn.
    pub fn pass(&mut self, place: u32) {
        self.turn = place + 1;
    }

    /// The first taken place from `place` on.
    fn from(&self, place: u32) -> Option<u32> {
        let first_bit = |word: u64, from: u32| {
            let rest = word.checked_shr(from).unwrap_or(0);
            (rest != 0).then(|| from + rest.trailing_zeros())
        };
        let word = place / BITS;
        if let Some(bit) = first_bit(*self.words.get(word as usize)?, place % BITS) {
            return Some(word * BITS + bit);
        }
        let (mut at, mut from) = ((word + 1) / BITS, (word + 1) % BITS);
        loop {
            if let Some(bit) = first_bit(*self.summary.get(at as usize)?, from) {
                let word = at * BITS + bit;
                return Some(word * BITS + self.words[word as usize].trailing_zeros());
            }
            (at, from) = (at + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_agrees_with_an_ordered_set() {
        let mut rng = fastrand::Rng::with_seed(3);
        for count in [1_u32, 5, 64, 65, 5000] {
            let (mut round, mut model, mut turn) = (Round::default(), BTreeSet::new(), 0);
            for _ in 0..20_000 {
                let place = rng.u32(0..count);
                match rng.u32(0..4) {
                    0 => {
                        round.insert(place, count);
                        model.insert(place);
                    }
                    1 => {
                        round.remove(place);
                        model.remove(&place);
                    }
                    _ => {
                        let expected = model.range(turn..).next().copied();
                        assert_eq!(round.turn(), expected);
                        turn = expected.unwrap_or(0);
                        if let Some(place) = expected {
                            round.pass(place);
                            turn = place + 1;
                        }
                    }
                }
                assert_eq!(round.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn a_round_ends_though_classes_leave_and_rejoin() {
        let mut round = Round::default();
        for place in 0..3 {
            round.insert(place, 3);
        }
        let mut served = Vec::new();
        for _ in 0..7 {
            let turn = round.turn();
            served.push(turn);
            if let Some(place) = turn {
                round.remove(place);
                round.insert(place, 3);
                assert_eq!(round.turn(), Some(place), "back at once, it goes on with its turn");
                round.pass(place);
            }
        }
        assert_eq!(served, [Some(0), Some(1), Some(2), None, Some(0), Some(1), Some(2)]);
    }
}
