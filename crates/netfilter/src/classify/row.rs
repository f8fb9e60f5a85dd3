//! A rule's bounds as the data path compares them: a fixed number of 32-bit lanes, tested all at once.

use fielato_wire::{Addr, Family};

use super::{Bounds, Key};

/// Lanes of an IPv4 row: one cache line holds a row.
pub(super) const V4_LANES: usize = 8;
/// Lanes of an IPv6 row: four words an address, so two cache lines.
pub(super) const V6_LANES: usize = 16;

/// A box: a range in each lane. The last lane is no field: it holds the rule's index, so that one comparison of all lanes
/// also tells whether the index is at least the one the search began from.
///
/// Both families lay out alike: source, destination (one lane each, or four), source port, destination port, protocol,
/// interface in, interface out, unused lanes, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Row<const N: usize> {
    lo: [u32; N],
    /// The range's end less its start. With it "inside" is one unsigned comparison, `key - lo <= span`, since a key below
    /// the start wraps to a large number. Both sides are held with [`BIAS`], as vector units compare signed numbers only.
    span: [i32; N],
}

/// Turns the order of unsigned numbers into that of signed ones.
const BIAS: u32 = 1 << 31;

fn biased(span: u32) -> i32 {
    (span ^ BIAS) as i32
}

fn unbiased(span: i32) -> u32 {
    span as u32 ^ BIAS
}

/// What rows are compared with: a packet's fields, and in the last lane the least index wanted. Each with [`BIAS`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<const N: usize>([u32; N]);

impl<const N: usize> Lanes<N> {
    fn new(mut values: [u32; N]) -> Self {
        for value in &mut values {
            *value ^= BIAS;
        }
        Self(values)
    }

    /// A lane's value.
    #[inline]
    pub(super) fn value(&self, lane: usize) -> u32 {
        self.0.get(lane).copied().unwrap_or(0) ^ BIAS
    }
}

impl<const N: usize> Row<N> {
    /// Whether the box holds the key, and the index is not below the key's.
    #[inline]
    pub(super) fn holds(&self, key: &Lanes<N>) -> bool {
        // No early end: the compiler makes a handful of vector instructions of this, and no branch to mispredict.
        let mut outside = false;
        for lane in 0..N {
            outside |= key.0[lane].wrapping_sub(self.lo[lane]) as i32 > self.span[lane];
        }
        !outside
    }

    /// The rule's index; of a box around several, the greatest.
    #[inline]
    pub(super) fn index(&self) -> u32 {
        unbiased(self.span[N - 1])
    }

    /// The first and last value of a lane.
    pub(super) fn range(&self, lane: usize) -> (u32, u32) {
        let lo = self.lo.get(lane).copied().unwrap_or(0);
        let span = self.span.get(lane).map_or(u32::MAX, |span| unbiased(*span));
        (lo, lo.wrapping_add(span))
    }

    /// The smallest box around both.
    pub(super) fn around(&self, other: &Self) -> Self {
        let mut row = *self;
        for lane in 0..N {
            let (lo, hi) = self.range(lane);
            let (other_lo, other_hi) = other.range(lane);
            row.lo[lane] = lo.min(other_lo);
            row.span[lane] = biased(hi.max(other_hi) - row.lo[lane]);
        }
        row
    }

    /// The row of a rule; `None` when its bounds hold nothing. The row of an IPv6 range that is no prefix may hold more than
    /// the range does: then the second value is false.
    pub(super) fn new(family: Family, bounds: &Bounds, index: u32) -> Option<(Self, bool)> {
        let Bounds {
            src,
            dst,
            protocol,
            sport,
            dport,
            in_interface,
            out_interface,
        } = bounds;
        let mut lanes = Writer::<N> {
            row: Row {
                lo: [0; N],
                span: [biased(u32::MAX); N],
            },
            next: 0,
        };
        let src_exact = lanes.address(family, *src)?;
        let dst_exact = lanes.address(family, *dst)?;
        lanes.range(u32::from(sport.0), u32::from(sport.1))?;
        lanes.range(u32::from(dport.0), u32::from(dport.1))?;
        let protocol = protocol.map_or((0, u8::MAX), |number| (number, number));
        lanes.range(u32::from(protocol.0), u32::from(protocol.1))?;
        for interface in [in_interface, out_interface] {
            let (lo, hi) = interface.map_or((0, u32::MAX), |number| (number, number));
            lanes.range(lo, hi)?;
        }
        let mut row = lanes.row;
        row.span[N - 1] = biased(index);
        Some((row, src_exact && dst_exact))
    }
}

/// The key's lanes, for a search from index `from`.
#[inline]
pub(super) fn v4(key: &Key, from: u32) -> Lanes<V4_LANES> {
    Lanes::new([
        key.src.lo as u32,
        key.dst.lo as u32,
        u32::from(key.sport),
        u32::from(key.dport),
        u32::from(key.protocol),
        key.in_interface,
        key.out_interface,
        from,
    ])
}

/// The key's lanes, for a search from index `from`.
#[inline]
pub(super) fn v6(key: &Key, from: u32) -> Lanes<V6_LANES> {
    let [s0, s1, s2, s3] = words(key.src);
    let [d0, d1, d2, d3] = words(key.dst);
    Lanes::new([
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
        u32::from(key.sport),
        u32::from(key.dport),
        u32::from(key.protocol),
        key.in_interface,
        key.out_interface,
        0,
        0,
        from,
    ])
}

#[inline]
fn words(address: Addr) -> [u32; 4] {
    [
        (address.hi >> 32) as u32,
        address.hi as u32,
        (address.lo >> 32) as u32,
        address.lo as u32,
    ]
}

/// Fills a row lane by lane.
struct Writer<const N: usize> {
    row: Row<N>,
    next: usize,
}

impl<const N: usize> Writer<N> {
    /// The next lane's range; `None` when it is empty.
    fn range(&mut self, lo: u32, hi: u32) -> Option<()> {
        let span = hi.checked_sub(lo)?;
        *self.row.lo.get_mut(self.next)? = lo;
        *self.row.span.get_mut(self.next)? = biased(span);
        self.next += 1;
        Some(())
    }

    /// An address range, and whether the lanes hold just that.
    fn address(&mut self, family: Family, (lo, hi): (Addr, Addr)) -> Option<bool> {
        let hi = hi.min(Addr::mask(family, family.bits()));
        if lo > hi {
            return None;
        }
        if family == Family::V4 {
            self.range(lo.lo as u32, hi.lo as u32)?;
            return Some(true);
        }
        // Words that are equal, one that is a range, and below it every value: a product of ranges, as prefixes are. Where
        // a lower word is restricted too, the range isn't a product, and the lanes hold what is around it.
        let (mut exact, mut split) = (true, false);
        for (lo, hi) in words(lo).into_iter().zip(words(hi)) {
            if split {
                exact &= lo == 0 && hi == u32::MAX;
                self.range(0, u32::MAX)?;
            } else {
                split = lo != hi;
                self.range(lo, hi)?;
            }
        }
        Some(exact)
    }
}
