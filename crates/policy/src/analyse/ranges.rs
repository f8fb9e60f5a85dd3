//! Sets of numbers as ranges in order: addresses, and protocols with their ports.

use std::rc::Rc;

/// First and last.
pub(super) type Range = (u128, u128);

/// Ranges in order, apart from each other. Most hold a single range, and are kept without an allocation.
#[derive(Debug, Clone)]
pub(super) enum Ranges {
    One(Range),
    /// None, or more than one.
    Many(Rc<[Range]>),
}

impl Ranges {
    pub fn none() -> Ranges {
        Ranges::Many(Rc::new([]))
    }

    /// Of ranges in any order.
    pub fn new(mut ranges: Vec<Range>) -> Ranges {
        if let [one] = ranges.as_slice() {
            return Ranges::One(*one);
        }
        ranges.sort_unstable();
        let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Ranges::of_sorted(joined)
    }

    fn of_sorted(ranges: Vec<Range>) -> Ranges {
        match ranges.as_slice() {
            [one] => Ranges::One(*one),
            _ => Ranges::Many(ranges.into()),
        }
    }

    pub fn as_slice(&self) -> &[Range] {
        match self {
            Ranges::One(one) => std::slice::from_ref(one),
            Ranges::Many(many) => many,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub fn first(&self) -> Option<u128> {
        self.as_slice().first().map(|range| range.0)
    }

    pub fn last(&self) -> Option<u128> {
        self.as_slice().last().map(|range| range.1)
    }

    /// The smallest range around all.
    pub fn around(&self) -> Option<Range> {
        self.first().zip(self.last())
    }

    pub fn contains(&self, value: u128) -> bool {
        let ranges = self.as_slice();
        let at = ranges.partition_point(|range| range.1 < value);
        ranges.get(at).is_some_and(|range| range.0 <= value)
    }

    /// Those that end at or behind `value`.
    fn from(&self, value: u128) -> &[Range] {
        let ranges = self.as_slice();
        ranges
            .get(ranges.partition_point(|range| range.1 < value)..)
            .unwrap_or_default()
    }

    pub fn and(&self, other: &Ranges) -> Ranges {
        if let (Ranges::One(a), Ranges::One(b)) = (self, other) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            return if first <= last {
                Ranges::One((first, last))
            } else {
                Ranges::none()
            };
        }
        let mut both = Vec::new();
        let (mut a, mut b) = match (self.first(), other.first()) {
            (Some(first), Some(second)) => (self.from(second), other.from(first)),
            _ => return Ranges::none(),
        };
        while let ([x, later_a @ ..], [y, later_b @ ..]) = (a, b) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                both.push((first, last));
            }
            if x.1 < y.1 {
                a = later_a;
            } else {
                b = later_b;
            }
        }
        Ranges::of_sorted(both)
    }

    pub fn without(&self, other: &Ranges) -> Ranges {
        let mut rest = Vec::new();
        let Some(first) = self.first() else { return Ranges::none() };
        let mut cuts = other.from(first);
        for &(mut begin, end) in self.as_slice() {
            let mut gone = false;
            while let [cut, later @ ..] = cuts {
                if cut.1 < begin {
                    cuts = later;
                    continue;
                }
                if cut.0 > end {
                    break;
                }
                if cut.0 > begin {
                    rest.push((begin, cut.0 - 1));
                }
                if cut.1 >= end {
                    gone = true;
                    break;
                }
                begin = cut.1 + 1;
                cuts = later;
            }
            if !gone {
                rest.push((begin, end));
            }
        }
        Ranges::of_sorted(rest)
    }

    pub fn touches(&self, other: &Ranges) -> bool {
        let (few, many) = match self.as_slice().len() <= other.as_slice().len() {
            true => (self, other),
            false => (other, self),
        };
        few.as_slice()
            .iter()
            .any(|range| many.from(range.0).first().is_some_and(|next| next.0 <= range.1))
    }

    pub fn is_within(&self, other: &Ranges) -> bool {
        self.as_slice().iter().all(|range| {
            let holder = other.from(range.0).first();
            holder.is_some_and(|holder| holder.0 <= range.0 && range.1 <= holder.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rng: &mut fastrand::Rng) -> (Ranges, u32) {
        let ranges = (0..rng.usize(..5)).map(|_| {
            let first = rng.u128(..28);
            (first, first + rng.u128(..4))
        });
        let ranges: Vec<Range> = ranges.collect();
        let bits = (0..32).filter(|bit| ranges.iter().any(|range| range.0 <= *bit && *bit <= range.1));
        let bits = bits.fold(0u32, |bits, bit| bits | 1 << bit);
        (Ranges::new(ranges), bits)
    }

    fn bits(ranges: &Ranges) -> u32 {
        let apart = ranges.as_slice().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
        assert!(apart, "{ranges:?}");
        (0..32)
            .filter(|bit| ranges.contains(*bit))
            .fold(0, |bits, bit| bits | 1 << bit)
    }

    #[test]
    fn as_sets_of_bits() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let ((a, x), (b, y)) = (random(&mut rng), random(&mut rng));
            assert_eq!(bits(&a), x);
            assert_eq!(bits(&a.and(&b)), x & y, "{a:?} {b:?}");
            assert_eq!(bits(&a.without(&b)), x & !y, "{a:?} {b:?}");
            assert_eq!(a.touches(&b), x & y != 0, "{a:?} {b:?}");
            assert_eq!(a.is_within(&b), x & !y == 0, "{a:?} {b:?}");
            assert_eq!(a.is_empty(), x == 0);
        }
    }

    #[test]
    fn the_ends_of_the_numbers() {
        let all = Ranges::One((0, u128::MAX));
        assert!(all.without(&all).is_empty());
        assert_eq!(all.without(&Ranges::One((0, 9))).first(), Some(10));
        assert_eq!(Ranges::new(vec![(5, u128::MAX), (0, 7)]).around(), Some((0, u128::MAX)));
    }
}
