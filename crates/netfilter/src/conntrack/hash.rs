//! The keyed hash of tuples: nobody who doesn't know the keys can choose addresses and ports that collide.

use super::Tuple;

/// Keys of the hash, drawn from the seed.
#[derive(Debug)]
pub(super) struct HashKeys([u64; 8]);

impl HashKeys {
    pub(super) fn new(seed: u64) -> HashKeys {
        let mut rng = fastrand::Rng::with_seed(seed);
        HashKeys(std::array::from_fn(|_| rng.u64(..)))
    }

    /// The hash of a tuple in a zone.
    #[inline]
    pub(super) fn tuple(&self, tuple: &Tuple, zone: u16) -> u32 {
        let numbers = u64::from(tuple.sport) << 48 | u64::from(tuple.dport) << 32 | u64::from(zone) << 16;
        self.words([
            tuple.src.hi,
            tuple.src.lo,
            tuple.dst.hi,
            tuple.dst.lo,
            numbers | u64::from(tuple.protocol) << 8 | tuple.family as u64,
        ])
    }

    /// The hash of a tuple's source, its protocol and a zone.
    pub(super) fn source(&self, tuple: &Tuple, zone: u16) -> u32 {
        let numbers = u64::from(tuple.sport) << 32 | u64::from(zone) << 16 | u64::from(tuple.protocol) << 8;
        self.words([tuple.src.hi, tuple.src.lo, numbers | tuple.family as u64, 0, 1])
    }

    /// The hash of a tuple's destination and its protocol.
    pub(super) fn destination(&self, tuple: &Tuple) -> u32 {
        let numbers = u64::from(tuple.dport) << 32 | u64::from(tuple.protocol) << 8;
        self.words([tuple.dst.hi, tuple.dst.lo, numbers | tuple.family as u64, 0, 2])
    }

    /// NH, as UMAC uses it (RFC 4418 §5.2.2): for any two inputs chosen without the keys, the 128-bit sums are equal with
    /// probability 2^-64. The last multiplication mixes the sum into the bits that a table uses, high and low.
    #[inline]
    fn words(&self, w: [u64; 5]) -> u32 {
        let k = &self.0;
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let sum = product(w[0].wrapping_add(k[0]), w[1].wrapping_add(k[1]))
            .wrapping_add(product(w[2].wrapping_add(k[2]), w[3].wrapping_add(k[3])))
            .wrapping_add(product(w[4].wrapping_add(k[4]), k[5]));
        let mixed = product(sum as u64 ^ k[6], (sum >> 64) as u64 ^ k[7]);
        let mixed = mixed as u64 ^ (mixed >> 64) as u64;
        mixed as u32 ^ (mixed >> 32) as u32
    }
}
