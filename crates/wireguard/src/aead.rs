//! ChaCha20-Poly1305 as WireGuard uses it: no additional data, the counter as nonce, in place.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// ChaCha20-Poly1305 (RFC 8439) with a nonce of 32 zero bits and the little-endian counter, without additional data.
pub trait Aead: Send {
    /// Encrypts `data` in place and returns its tag.
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; 16];

    /// Decrypts `data` in place. False when the tag is wrong; `data` is then of no use.
    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; 16]) -> bool;
}

/// ring's.
#[derive(Debug, Default, Clone, Copy)]
pub struct Ring;

fn ring_key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key"))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Aead for Ring {
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; 16] {
        let tag = ring_key(key).seal_in_place_separate_tag(nonce(counter), Aad::empty(), data);
        tag.expect("shorter than 256 GB").as_ref().try_into().expect("16 bytes")
    }

    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; 16]) -> bool {
        let opened = ring_key(key).open_in_place_separate_tag(nonce(counter), Aad::empty(), (*tag).into(), data, 0..);
        opened.is_ok()
    }
}

/// Whether `aead` gives ring's results.
pub fn check(aead: &mut dyn Aead) -> bool {
    let key = [7; 32];
    [0_usize, 1, 63, 64, 300, 1424].into_iter().all(|length| {
        let plain = vec![1; length];
        let (mut ours, mut theirs) = (plain.clone(), plain.clone());
        let tag = aead.seal(&key, 5, &mut ours);
        tag == Ring.seal(&key, 5, &mut theirs) && ours == theirs && aead.open(&key, 5, &mut ours, &tag) && ours == plain
    })
}
