//! `-m string` (`xt_string.c`): a search by Boyer-Moore or Knuth-Morris-Pratt (`lib/ts_bm.c`, `lib/ts_kmp.c`). Both find the
//! same in a packet that came whole. In one put together from pieces, Boyer-Moore doesn't find what is spread over several, as
//! `ts_bm.c` warns: each is a block of memory of its own.

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Boyer-Moore, by the bad-character rule: looks at a part of the bytes only.
    BoyerMoore,
    /// Knuth-Morris-Pratt: looks at every byte once.
    KnuthMorrisPratt,
}

/// `-m string`.
#[derive(Clone, Debug, PartialEq)]
pub struct String(Box<Parameters>);

/// The parameters of `-m string`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Bytes to find, 1 to 128.
    pub pattern: Box<[u8]>,
    /// How.
    pub algorithm: Algorithm,
    /// `!`
    pub negated: bool,
    /// `--icase`: ASCII letters are equal in both cases.
    pub ignore_case: bool,
    /// First byte to look at, from the IP header.
    pub from: u16,
    /// End of what is looked at.
    pub to: u16,
    /// Boyer-Moore: by a byte, how far to move on. Knuth-Morris-Pratt: by a place in the pattern, how much of it still holds.
    table: Vec<u8>,
}

impl Parameters {
    /// Most bytes of a pattern.
    pub const MAX_PATTERN: usize = 128;

    /// A search for `pattern` in the whole packet.
    pub fn new(pattern: &[u8], algorithm: Algorithm, ignore_case: bool) -> Parameters {
        let pattern: Box<[u8]> = pattern.iter().copied().take(Parameters::MAX_PATTERN).collect();
        let same = |a: u8, b: u8| a == b || ignore_case && a.eq_ignore_ascii_case(&b);
        let table = match algorithm {
            Algorithm::BoyerMoore => {
                let len = pattern.len();
                let mut skip = vec![len as u8; 256];
                for (place, &byte) in pattern.iter().enumerate().take(len.saturating_sub(1)) {
                    for other in 0..=255u8 {
                        if same(byte, other) {
                            skip[usize::from(other)] = (len - 1 - place) as u8;
                        }
                    }
                }
                skip
            }
            Algorithm::KnuthMorrisPratt => {
                let mut borders = vec![0u8; pattern.len()];
                let mut held = 0;
                for place in 1..pattern.len() {
                    while held > 0 && !same(pattern[held], pattern[place]) {
                        held = usize::from(borders[held - 1]);
                    }
                    if same(pattern[held], pattern[place]) {
                        held += 1;
                    }
                    borders[place] = held as u8;
                }
                borders
            }
        };
        Parameters {
            pattern,
            algorithm,
            negated: false,
            ignore_case,
            from: 0,
            to: u16::MAX,
            table,
        }
    }

    fn same(&self, a: u8, b: u8) -> bool {
        a == b || self.ignore_case && a.eq_ignore_ascii_case(&b)
    }

    /// `pieces` are the sizes of those that the packet's end was put together from.
    fn found_in(&self, packet: &[u8], pieces: &[u16]) -> bool {
        let (from, to) = (usize::from(self.from), packet.len().min(usize::from(self.to)));
        let Some(text) = packet.get(from..to).filter(|_| !self.pattern.is_empty()) else {
            return false;
        };
        if self.algorithm == Algorithm::KnuthMorrisPratt {
            return self.knuth_morris_pratt(text);
        }
        // Headers stand in one block with the first piece.
        let later = pieces.iter().skip(1);
        let mut begin = 0;
        let mut end = packet.len().saturating_sub(later.clone().copied().map(usize::from).sum());
        for size in later.map(|&size| usize::from(size)).chain([0]) {
            let block = packet.get(begin.max(from)..end.min(to));
            if block.is_some_and(|block| self.boyer_moore(block)) {
                return true;
            }
            (begin, end) = (end, end + size);
        }
        false
    }

    fn boyer_moore(&self, text: &[u8]) -> bool {
        let len = self.pattern.len();
        let mut at = 0;
        while let Some(window) = text.get(at..at + len) {
            if window.iter().zip(&self.pattern).rev().all(|(&a, &b)| self.same(a, b)) {
                return true;
            }
            let last = window[len - 1];
            at += usize::from(self.table[usize::from(last)].max(1));
        }
        false
    }

    fn knuth_morris_pratt(&self, text: &[u8]) -> bool {
        let mut held = 0;
        for &byte in text {
            while held > 0 && !self.same(self.pattern[held], byte) {
                held = usize::from(self.table[held - 1]);
            }
            if self.same(self.pattern[held], byte) {
                held += 1;
            }
            if held == self.pattern.len() {
                return true;
            }
        }
        false
    }
}

impl String {
    /// A match by these parameters.
    pub fn new(parameters: Parameters) -> String {
        String(Box::new(parameters))
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.0
    }

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.0.from > self.0.to {
            return Err(CheckError("string: --from is after --to".to_owned()));
        }
        if self.0.pattern.is_empty() {
            return Err(CheckError("string: there is nothing to look for".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let pieces = cx.packet.pieces.as_ref().map_or(&[][..], |pieces| &pieces.sizes);
        self.0.found_in(&cx.packet.data, pieces) != self.0.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let text = b"abababac GET /index.html abacab";
        let cases: [(&[u8], bool, bool); 9] = [
            (b"abac", false, true),
            (b"ababac", false, true),
            (b"GET /", false, true),
            (b"get /", false, false),
            (b"get /", true, true),
            (b"cab", false, true),
            (b"cabx", false, false),
            (b"a", false, true),
            (b"bababb", false, false),
        ];
        for (pattern, ignore_case, found) in cases {
            for algorithm in [Algorithm::BoyerMoore, Algorithm::KnuthMorrisPratt] {
                let search = Parameters::new(pattern, algorithm, ignore_case);
                assert_eq!(search.found_in(text, &[]), found, "{pattern:?} {algorithm:?}");
            }
        }
    }

    #[test]
    fn agrees_with_a_plain_search() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let text: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(b'a'..=b'c')).collect();
            let pattern: Vec<u8> = (0..rng.usize(1..6)).map(|_| rng.u8(b'a'..=b'c')).collect();
            let plain = text.windows(pattern.len()).any(|window| window == pattern);
            for algorithm in [Algorithm::BoyerMoore, Algorithm::KnuthMorrisPratt] {
                let search = Parameters::new(&pattern, algorithm, false);
                assert_eq!(search.found_in(&text, &[]), plain, "{pattern:?} in {text:?} {algorithm:?}");
            }
        }
    }

    #[test]
    fn boyer_moore_looks_at_each_piece_for_itself() {
        let text = b"HDR.abcdefghi";
        for (pattern, pieces, whole) in [
            (&b"abc"[..], &[4, 5][..], true),
            (b"cde", &[4, 5], false),
            (b"R.a", &[4, 5], true),
            (b"ef", &[4, 2, 3], true),
            (b"fg", &[4, 2, 3], false),
            (b"ghi", &[4, 2, 3], true),
        ] {
            let found = |algorithm| Parameters::new(pattern, algorithm, false).found_in(text, pieces);
            assert_eq!(found(Algorithm::BoyerMoore), whole, "{pattern:?} {pieces:?}");
            assert!(found(Algorithm::KnuthMorrisPratt));
        }
    }

    #[test]
    fn looks_between_its_bounds() {
        let mut search = Parameters::new(b"def", Algorithm::BoyerMoore, false);
        for (from, to, found) in [(0, 6, true), (3, 6, true), (4, 9, false), (0, 5, false), (20, 30, false)] {
            (search.from, search.to) = (from, to);
            assert_eq!(search.found_in(b"abcdefghi", &[]), found, "{from}..{to}");
        }
    }
}
