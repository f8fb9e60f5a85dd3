//! ChaCha20-Poly1305 (RFC 8439) as WireGuard uses it, with room for a faster implementation than the usual one.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::message::TAG;

/// ChaCha20-Poly1305 with no additional data and, as nonce, four zero bytes and the counter in little-endian
/// (WireGuard paper, section 5.4.6). A counter may be sealed with only once per key.
pub trait Aead: Send {
    /// Encrypts `data` in place and returns its tag.
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; TAG];

    /// Decrypts `data` (the ciphertext without its tag) in place; false when the tag is not of this key, counter and
    /// ciphertext. `data` may hold garbage then.
    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; TAG]) -> bool;
}

/// The implementation of the `ring` crate: the default, and the measure for any other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Aead for Ring {
    #[inline]
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; TAG] {
        seal_with(key, counter, &[], data)
    }

    #[inline]
    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; TAG]) -> bool {
        open_with(key, counter, &[], data, tag)
    }
}

#[inline]
fn cipher(key: &[u8; 32]) -> LessSafeKey {
    // `new` looks at nothing but the key's length.
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a ChaCha20-Poly1305 key has 32 bytes"))
}

#[inline]
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// [`Ring::seal`] with additional data, which handshakes have.
#[inline]
pub(crate) fn seal_with(key: &[u8; 32], counter: u64, additional: &[u8], data: &mut [u8]) -> [u8; TAG] {
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(counter), Aad::from(additional), data)
        // RFC 8439 section 2.8 has the limit.
        .expect("ChaCha20-Poly1305 seals anything below 256 GB");
    let mut bytes = [0; TAG];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// [`Ring::open`] with additional data.
#[inline]
pub(crate) fn open_with(key: &[u8; 32], counter: u64, additional: &[u8], data: &mut [u8], tag: &[u8; TAG]) -> bool {
    cipher(key)
        .open_in_place_separate_tag(nonce(counter), Aad::from(additional), (*tag).into(), data, 0..)
        .is_ok()
}

/// Whether `aead` agrees with [`Ring`] on data of many lengths, refuses what was tampered with, and leaves alone what
/// lies beside its data. To be asked before an implementation is trusted that the machine chose; takes a few milliseconds.
pub fn check(aead: &mut dyn Aead) -> bool {
    // Every residue of the block sizes that implementations work in, and the usual packet and superpacket sizes.
    let lengths = (0..=1_100).chain([1_280, 1_392, 1_408, 1_420, 1_424, 1_440, 1_500, 2_047, 4_096, 8_999, 65_519]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // What is in the data doesn't matter as long as it varies: SplitMix64.
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    lengths.into_iter().all(|len: usize| {
        let mut key = [0; 32];
        key.chunks_mut(8).for_each(|part| part.copy_from_slice(&next().to_le_bytes()));
        let counter = if len.is_multiple_of(2) { next() } else { len as u64 };
        let at = len % 16;
        let mut plain = vec![0; at + len + 32];
        plain.chunks_mut(8).for_each(|part| {
            let word = next().to_le_bytes();
            part.iter_mut().zip(word).for_each(|(byte, value)| *byte = value);
        });
        let data = at..at + len;

        let mut expected = plain.clone();
        let expected_tag = Ring.seal(&key, counter, &mut expected[data.clone()]);
        let mut sealed = plain.clone();
        let tag = aead.seal(&key, counter, &mut sealed[data.clone()]);
        if sealed != expected || tag != expected_tag {
            return false;
        }
        let mut opened = sealed.clone();
        if !aead.open(&key, counter, &mut opened[data.clone()], &tag) || opened != plain {
            return false;
        }
        let mut wrong_tag = tag;
        wrong_tag[len % TAG] ^= 1 << (len % 8);
        let refuses = |aead: &mut dyn Aead, key: &[u8; 32], counter, tag: &[u8; TAG]| {
            let mut forged = sealed.clone();
            !aead.open(key, counter, &mut forged[data.clone()], tag)
        };
        let mut wrong_key = key;
        wrong_key[len % 32] ^= 0x80;
        refuses(aead, &key, counter, &wrong_tag)
            && refuses(aead, &wrong_key, counter, &tag)
            && refuses(aead, &key, counter ^ 1, &tag)
            && (len == 0 || {
                let mut forged = sealed.clone();
                forged[at + len - 1] ^= 0x40;
                !aead.open(&key, counter, &mut forged[data.clone()], &tag)
            })
    })
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::AeadInPlace;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

    use super::*;
    use crate::random::Random;

    /// RFC 8439 appendix A.5: its nonce begins with zeros, as WireGuard's do.
    #[test]
    fn the_vector_of_rfc_8439_opens() {
        let key = [
            0x1c, 0x92, 0x40, 0xa5, 0xeb, 0x55, 0xd3, 0x8a, 0xf3, 0x33, 0x88, 0x86, 0x04, 0xf6, 0xb5, 0xf0, 0x47, 0x39, 0x17,
            0xc1, 0x40, 0x2b, 0x80, 0x09, 0x9d, 0xca, 0x5c, 0xbc, 0x20, 0x70, 0x75, 0xc0,
        ];
        let counter = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        let additional = [0xf3, 0x33, 0x88, 0x86, 0, 0, 0, 0, 0, 0, 0x4e, 0x91];
        let tag = [
            0xee, 0xad, 0x9d, 0x67, 0x89, 0x0c, 0xbb, 0x22, 0x39, 0x23, 0x36, 0xfe, 0xa1, 0x85, 0x1f, 0x38,
        ];
        let text = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, \
                    replaced, or obsoleted by other documents at any time. It is inappropriate to use \
                    Internet-Drafts as reference material or to cite them other than as /\u{201c}work in progress./\u{201d}";
        let mut data = text.as_bytes().to_vec();
        assert_eq!(data.len(), 265);
        assert_eq!(seal_with(&key, counter, &additional, &mut data), tag);
        assert_eq!(data[..8], [0x64, 0xa0, 0x86, 0x15, 0x75, 0x86, 0x1a, 0xf4]);
        assert!(open_with(&key, counter, &additional, &mut data, &tag));
        assert_eq!(data, text.as_bytes());
        assert!(!open_with(&key, counter, &[], &mut data, &tag));
    }

    #[test]
    fn ring_agrees_with_another_implementation() {
        let mut random = Random::new([1; 32]);
        let large: Vec<usize> = (0..40).map(|_| random.u32() as usize % 70_000).collect();
        for len in (0..300).chain(large) {
            let key: [u8; 32] = random.bytes();
            let counter = random.u64();
            let mut plain = vec![0; len];
            random.fill(&mut plain);
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());

            let mut ours = plain.clone();
            let tag = Ring.seal(&key, counter, &mut ours);
            let mut theirs = plain.clone();
            let their_tag = ChaCha20Poly1305::new(&key.into()).encrypt_in_place_detached(&nonce.into(), &[], &mut theirs);
            assert_eq!((&ours, &tag[..]), (&theirs, &their_tag.unwrap()[..]), "{len} bytes");
            assert!(Ring.open(&key, counter, &mut ours, &tag));
            assert_eq!(ours, plain);
        }
    }

    #[test]
    fn ring_passes_the_check() {
        assert!(check(&mut Ring));
    }

    /// Each a way in which a fast implementation could be wrong.
    enum Broken {
        SealsTail,
        AcceptsAll,
        WritesBeside,
        IgnoresHighCounter,
        FailsOnEmpty,
    }

    impl Aead for Broken {
        fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; TAG] {
            let counter = if matches!(self, Self::IgnoresHighCounter) {
                counter & 0xffff_ffff
            } else {
                counter
            };
            let mut tag = Ring.seal(key, counter, data);
            match self {
                Self::SealsTail if data.len() % 64 == 63 => data[data.len() - 1] ^= 1,
                Self::FailsOnEmpty if data.is_empty() => tag = [0; TAG],
                _ => (),
            }
            tag
        }

        fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; TAG]) -> bool {
            let good = Ring.open(key, counter, data, tag);
            match self {
                Self::AcceptsAll => true,
                Self::WritesBeside => {
                    if let Some(last) = data.last_mut() {
                        *last = 0;
                    }
                    good
                }
                _ => good,
            }
        }
    }

    #[test]
    fn wrong_implementations_fail_the_check() {
        use Broken::{AcceptsAll, FailsOnEmpty, IgnoresHighCounter, SealsTail, WritesBeside};
        for mut broken in [SealsTail, AcceptsAll, WritesBeside, IgnoresHighCounter, FailsOnEmpty] {
            assert!(!check(&mut broken));
        }
    }
}
