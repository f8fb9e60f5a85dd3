//! The one source of randomness: a seed comes in at construction, nothing here asks the system.

use std::fmt;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, Zeroizing};

/// A generator of secrets: ChaCha20's keystream, with the key replaced by fresh keystream at every draw.
///
/// Replacing the key is what keeps WireGuard's forward secrecy ("fast key erasure"): whoever reads this state later
/// can't compute the ephemeral keys that were drawn before, which a generator that only counts would give away.
pub struct Random {
    key: Zeroizing<[u8; 32]>,
}

impl Random {
    /// `seed` is 32 bytes from the system's generator; in tests, anything.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(seed),
        }
    }

    /// Overwrites `bytes` with random ones.
    ///
    /// # Panics
    /// Beyond 256 GB at once, where ChaCha20's block counter ends.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        // A key is used for one draw, so the nonce may be constant.
        let mut cipher = ChaCha20::new((&*self.key).into(), &[0; 12].into());
        self.key.zeroize();
        cipher.apply_keystream(&mut *self.key);
        bytes.fill(0);
        cipher.apply_keystream(bytes);
    }

    /// An array of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random number.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// A random number.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// Another generator whose output tells nothing about this one's.
    pub fn fork(&mut self) -> Self {
        Self::new(self.bytes())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_chacha20s_and_the_key_moves_on() {
        // RFC 8439 section 2.3.2 has no vector for an all-zero key; appendix A.1, test vector 1, does:
        // key, nonce and counter zero.
        let mut random = Random::new([0; 32]);
        let first: [u8; 32] = random.bytes();
        assert_eq!(
            *random.key,
            [
                0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19,
                0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7,
            ]
        );
        assert_eq!(first[..8], [0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d]);
        assert_ne!(first, random.bytes());
    }

    #[test]
    fn equal_seeds_give_equal_streams_and_forks_differ() {
        let (mut one, mut two) = (Random::new([7; 32]), Random::new([7; 32]));
        assert_eq!((one.u32(), one.u64()), (two.u32(), two.u64()));
        let mut fork = one.fork();
        let child: [u8; 32] = fork.bytes();
        assert_ne!(child, one.bytes());
        assert_eq!(format!("{one:?}"), "Random(hidden)");
    }
}
