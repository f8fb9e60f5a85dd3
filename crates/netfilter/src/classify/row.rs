//! A rule's bounds as the data path compares them: a fixed number of 32-bit lanes, tested together.
//!
//! Both families lay their lanes out alike: source, destination (one lane each, or four), service, source port, destination
//! port, interface in, interface out, for IPv6 two that are free, index. An IPv4 row fills a cache line, an IPv6 row two.
//!
//! The service is the protocol's number followed by the destination port: one range for the usual rule, that names a protocol
//! and perhaps ports, and one lane to find it by. The destination port's own lane is restricted only where a rule names ports
//! for any protocol.

use fielato_wire::{Addr, Family};

use super::{Bounds, Key};

/// Lanes of an IPv4 row.
pub(super) const V4_LANES: usize = 8;
/// Lanes of an IPv6 row.
pub(super) const V6_LANES: usize = 16;

/// A box: a range in each lane. The last lane is no field: it holds the rule's index, so that one comparison of all lanes
/// also tells whether the index is at least the one the search began from.
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

/// The range of a field left open.
const ANY: (u32, u32) = (0, u32::MAX);

impl<const N: usize> Row<N> {
    /// Whether the key is inside, and the index not below the key's.
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
        self.span[N - 1] as u32 ^ BIAS
    }

    /// The first and last value of a field's lane; `None` for the index.
    pub(super) fn range(&self, lane: usize) -> Option<(u32, u32)> {
        (lane < N - 1).then(|| {
            let lo = self.lo[lane];
            (lo, lo.wrapping_add(self.span[lane] as u32 ^ BIAS))
        })
    }

    fn set(&mut self, lane: usize, (lo, hi): (u32, u32)) {
        self.lo[lane] = lo;
        self.span[lane] = (hi.wrapping_sub(lo) ^ BIAS) as i32;
    }

    /// The smallest box around both.
    pub(super) fn around(&self, other: &Self) -> Self {
        let mut row = *self;
        for lane in 0..N {
            if let (Some(a), Some(b)) = (self.range(lane), other.range(lane)) {
                row.set(lane, (a.0.min(b.0), a.1.max(b.1)));
            }
        }
        row.set(N - 1, (0, self.index().max(other.index())));
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
        } = *bounds;
        if sport.0 > sport.1 || dport.0 > dport.1 {
            return None;
        }
        let (src, src_exact) = addresses(family, src)?;
        let (dst, dst_exact) = addresses(family, dst)?;
        let port = |(lo, hi): (u16, u16)| {
            if (lo, hi) == (0, u16::MAX) {
                ANY
            } else {
                (lo.into(), hi.into())
            }
        };
        let number = |number: Option<u32>| number.map_or(ANY, |number| (number, number));
        let (service, dport) = match protocol {
            Some(protocol) => ((service(protocol, dport.0), service(protocol, dport.1)), ANY),
            None => (ANY, port(dport)),
        };
        let others = [service, port(sport), dport, number(in_interface), number(out_interface)];
        // An IPv4 address is the last of four words.
        let skipped = match family {
            Family::V4 => 3,
            Family::V6 => 0,
        };
        let fields = src
            .into_iter()
            .skip(skipped)
            .chain(dst.into_iter().skip(skipped))
            .chain(others);

        let mut row = Row {
            lo: [0; N],
            span: [0; N],
        };
        let open = std::iter::repeat(ANY);
        for (lane, range) in (0..N - 1).zip(fields.chain(open)) {
            row.set(lane, range);
        }
        row.set(N - 1, (0, index));
        Some((row, src_exact && dst_exact))
    }
}

/// What rows are compared with: a packet's fields, and in the last lane the least index wanted. Each with [`BIAS`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<const N: usize>([u32; N]);

impl<const N: usize> Lanes<N> {
    #[inline]
    fn new(values: [u32; N]) -> Self {
        Self(values.map(|value| value ^ BIAS))
    }

    /// The least index wanted.
    #[inline]
    pub(super) fn least_index(&self) -> u32 {
        self.value(N - 1)
    }

    /// The value of a lane.
    #[inline]
    pub(super) fn value(&self, lane: usize) -> u32 {
        self.0.get(lane).copied().unwrap_or(0) ^ BIAS
    }
}

/// The key's lanes, for a search from index `from`.
#[inline]
pub(super) fn v4(key: &Key, from: u32) -> Lanes<V4_LANES> {
    Lanes::new([
        key.src.lo as u32,
        key.dst.lo as u32,
        service(key.protocol, key.dport),
        key.sport.into(),
        key.dport.into(),
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
    let (service, sport, dport) = (service(key.protocol, key.dport), key.sport.into(), key.dport.into());
    let (iif, oif) = (key.in_interface, key.out_interface);
    Lanes::new([s0, s1, s2, s3, d0, d1, d2, d3, service, sport, dport, iif, oif, 0, 0, from])
}

#[inline]
fn service(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
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

/// A range of each word of an address, and whether they hold just the range; `None` when it is empty.
fn addresses(family: Family, (lo, hi): (Addr, Addr)) -> Option<([(u32, u32); 4], bool)> {
    let hi = hi.min(Addr::mask(family, family.bits()));
    if lo > hi {
        return None;
    }
    // Words that are equal, one that is a range, and below it every value: a product of ranges, as prefixes are. Where a
    // lower word is restricted too, the range isn't a product, and the words hold what is around it.
    let (lo, hi) = (words(lo), words(hi));
    let mut ranges = [ANY; 4];
    let (mut exact, mut split) = (true, false);
    for (range, (lo, hi)) in ranges.iter_mut().zip(lo.into_iter().zip(hi)) {
        if split {
            exact &= (lo, hi) == ANY;
        } else {
            split = lo != hi;
            *range = (lo, hi);
        }
    }
    Some((ranges, exact))
}
