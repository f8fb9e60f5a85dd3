//! A hash that nobody can aim at without the key.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// SipHash-1-3 with a key of the embedder's randomness.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed(u64, u64);

impl Keyed {
    pub(super) fn new(seed: u64) -> Keyed {
        let mut rng = fastrand::Rng::with_seed(seed);
        Keyed(rng.u64(..), rng.u64(..))
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
