//! Which cut tells rules apart best.

use std::ops::RangeInclusive;

use super::row::Row;
use super::slot::{Cut, Hash};

/// Rules looked at when there are more: enough to tell a good cut from a bad one.
const SAMPLE: usize = 4096;
/// Rows in a slot below which it doesn't matter how few they are.
const FEW: f32 = 2.0;
/// What a copy costs, in bits of separation, for each doubling of a rule.
const COPY_COST: f32 = 1.0;
/// Values looked at in all, for each rule and beside that. Usual rule sets take a tenth, unusual ones a third.
const EFFORT_EACH: u64 = 1000;
const EFFORT_ONCE: u64 = 1 << 20;

/// A cut to make: a lane without its low bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) lane: usize,
    pub(super) shift: u32,
    /// By how many bits, in the mean over all rules, the cut narrows the search: a rule that shares its slot with half of all
    /// rules gains one bit, a rule that the cut can't place none.
    pub(super) gain: f32,
}

/// What makes a cut worth making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Bits to gain at least.
    pub(super) least: f32,
    /// What a rule costs that the cut can't place, in bits.
    pub(super) aside: f32,
}

/// The values of a row in a cut; `None` when they are more than `copies`.
pub(super) fn values<const N: usize>(row: &Row<N>, lane: usize, shift: u32, copies: u32) -> Option<RangeInclusive<u32>> {
    let (lo, hi) = row.range(lane)?;
    let (first, last) = (lo >> shift, hi >> shift);
    (last - first < copies).then_some(first..=last)
}

/// Bits of slot number for so many different values: at least twice as many slots as values.
pub(super) fn slot_bits(values: usize) -> u32 {
    (values.max(1).next_power_of_two().ilog2() + 1).min(Cut::MAX_BITS)
}

/// Chooses; keeps its tables from one call to the next.
#[derive(Debug)]
pub(super) struct Chooser {
    counts: Vec<u32>,
    sample: Vec<u32>,
    log2: Vec<f32>,
    /// How many more values may be looked at, so that no rule set takes long. Then there are no more cuts.
    effort: u64,
}

impl Chooser {
    /// For so many rules in all.
    pub(super) fn new(rules: usize) -> Self {
        Self {
            counts: Vec::new(),
            sample: Vec::new(),
            log2: (0..=SAMPLE).map(|size| (size as f32).max(1.0).log2()).collect(),
            effort: EFFORT_ONCE + EFFORT_EACH * rules as u64,
        }
    }

    /// The best cut of the rows that `list` names, with at most so many copies of a row; `None` when none is worth it.
    pub(super) fn choose<const N: usize>(&mut self, rows: &[Row<N>], list: &[u32], copies: u32, terms: Terms) -> Option<Choice> {
        // Every n-th: rules that stand together are alike, and a run of them would mislead.
        let step = list.len().div_ceil(SAMPLE).max(1);
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        sample.extend(list.iter().step_by(step));
        let mut best: Option<Choice> = None;
        for lane in 0..N {
            for shift in shifts(rows, &sample, lane) {
                if self.effort == 0 {
                    break;
                }
                let gain = self.gain(rows, &sample, lane, shift, copies, terms);
                let better = match best {
                    Some(best) => gain > best.gain,
                    None => gain >= terms.least,
                };
                if better {
                    best = Some(Choice { lane, shift, gain });
                }
            }
        }
        self.sample = sample;
        best
    }

    fn gain<const N: usize>(
        &mut self,
        rows: &[Row<N>],
        sample: &[u32],
        lane: usize,
        shift: u32,
        copies: u32,
        terms: Terms,
    ) -> f32 {
        let bits = slot_bits(sample.len());
        let cut = Cut::new(lane, shift, bits);
        self.counts.clear();
        self.counts.resize(cut.slots(), 0);
        let placed = |index: &u32| values(rows.get(*index as usize)?, lane, shift, copies);
        let mut unplaced = 0usize;
        let mut taken = 0usize;
        let mut looks = sample.len() as u64;
        for index in sample {
            let Some(values) = placed(index) else {
                unplaced += 1;
                continue;
            };
            looks += u64::from(values.end() - values.start());
            for value in values {
                if let Some(count) = self.counts.get_mut(cut.slot(Hash::of(value))) {
                    taken += usize::from(*count == 0);
                    *count += 1;
                }
            }
        }
        self.effort = self.effort.saturating_sub(looks);
        if taken < 2 {
            return 0.0;
        }
        // A rule with too many values may stand behind all slots, when these are few.
        let slots = 1usize << slot_bits(taken);
        let everywhere = if slots <= copies as usize { unplaced } else { 0 };
        let whole = self.log(sample.len());
        // In a sample of many, one stands for more than a few.
        let few = if sample.len() < SAMPLE / 2 { FEW.log2() } else { 0.0 };
        let mut gain = -(everywhere as f32) * COPY_COST * self.log(slots);
        if everywhere == 0 {
            gain -= unplaced as f32 * terms.aside;
        }
        for index in sample {
            let Some(values) = placed(index) else { continue };
            let copies = values.end() - values.start() + 1;
            let mut bits = 0.0;
            for value in values {
                let count = self.counts.get(cut.slot(Hash::of(value))).copied().unwrap_or(0) as usize;
                bits += whole - self.log(count + everywhere).max(few);
            }
            gain += bits / copies as f32 - COPY_COST * self.log(copies as usize);
        }
        gain / sample.len() as f32
    }

    fn log(&self, size: usize) -> f32 {
        self.log2.get(size).or(self.log2.last()).copied().unwrap_or(0.0)
    }
}

/// The shifts worth trying in a lane: for each length of range that occurs, the one at which such a range has at most two values.
fn shifts<const N: usize>(rows: &[Row<N>], sample: &[u32], lane: usize) -> impl Iterator<Item = u32> + use<N> {
    let mut lengths = 0u64;
    for index in sample {
        if let Some((lo, hi)) = rows.get(*index as usize).and_then(|row| row.range(lane)) {
            lengths |= 1 << (u32::BITS - (hi - lo).leading_zeros());
        }
    }
    // All 32 bits: open.
    (0..u32::BITS).filter(move |shift| lengths >> shift & 1 == 1)
}
