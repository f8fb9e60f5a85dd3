//! Intel's cipher against two others: ring and the RustCrypto project's.
//!
//! ```text
//! plaintext ──┬─ the cipher under test ─┐
//!             ├─ ring ──────────────────┼─ same ciphertext, same tag; each opens it again
//!             └─ chacha20poly1305 ──────┘
//! ```

mod impostor;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use fielato_io::aead::{IpsecMb, Unusable, best};
use fielato_wireguard::aead::{Aead, Ring};

/// The cipher, or none where the library or the processor lacks it; anything else that is wrong fails the test.
fn ipsec_mb(test: &str) -> Option<IpsecMb> {
    match IpsecMb::new() {
        Ok(cipher) => Some(cipher),
        Err(reason @ (Unusable::NotBuilt | Unusable::Processor | Unusable::Missing { .. })) => {
            fielato_testkit::skip(test, &reason.to_string());
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

/// A seeded generator (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_ne_bytes());
        words.take(length.div_ceil(8)).flatten().take(length).collect()
    }

    fn key(&mut self) -> [u8; 32] {
        self.bytes(32).try_into().unwrap()
    }
}

fn rust_crypto(key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; 16] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt_in_place_detached(&nonce.into(), b"", data).unwrap().into()
}

/// Seals and opens `length` bytes that begin `shift` bytes into a buffer, whose bytes around them must stay.
fn compare(cipher: &mut impl Aead, random: &mut Random, length: usize, shift: usize) {
    const GUARD: usize = 192;
    let (key, counter) = (random.key(), random.next());
    let plain = random.bytes(length);
    let mut buffer = vec![0xa5; GUARD + shift + length + GUARD];
    let range = GUARD + shift..GUARD + shift + length;
    buffer[range.clone()].copy_from_slice(&plain);

    let tag = cipher.seal(&key, counter, &mut buffer[range.clone()]);
    let mut by_ring = plain.clone();
    assert_eq!(tag, Ring.seal(&key, counter, &mut by_ring), "tag of {length} bytes");
    assert!(buffer[range.clone()] == by_ring, "ciphertext of {length} bytes at {shift}");
    let mut by_rust_crypto = plain.clone();
    assert_eq!(tag, rust_crypto(&key, counter, &mut by_rust_crypto), "tag of {length} bytes");
    assert!(by_ring == by_rust_crypto, "ciphertext of {length} bytes");

    assert!(
        cipher.open(&key, counter, &mut buffer[range.clone()], &tag),
        "{length} bytes at {shift}"
    );
    assert!(buffer[range.clone()] == plain, "plaintext of {length} bytes at {shift}");
    let around = [&buffer[..range.start], &buffer[range.end..]].concat();
    assert!(
        around.iter().all(|byte| *byte == 0xa5),
        "written outside of {length} bytes at {shift}"
    );
}

#[test]
fn every_length_up_to_2048_is_as_with_ring_and_rust_crypto() {
    let Some(mut cipher) = ipsec_mb("every_length_up_to_2048_is_as_with_ring_and_rust_crypto") else {
        return;
    };
    let mut random = Random(1);
    for length in 0..=2048 {
        // A packet's data begin 16 bytes into a datagram, and datagrams of a batch anywhere.
        compare(&mut cipher, &mut random, length, length % 67);
    }
}

#[test]
fn random_lengths_and_places_are_as_with_ring_and_rust_crypto() {
    let Some(mut cipher) = ipsec_mb("random_lengths_and_places_are_as_with_ring_and_rust_crypto") else {
        return;
    };
    let mut random = Random(2);
    for round in 0..150 {
        let length = if round == 0 { 65_000 } else { random.next() as usize % 65_001 };
        let shift = random.next() as usize % 64;
        compare(&mut cipher, &mut random, length, shift);
    }
}

#[test]
fn whatever_was_changed_is_refused_and_wiped() {
    let Some(mut cipher) = ipsec_mb("whatever_was_changed_is_refused_and_wiped") else {
        return;
    };
    let mut random = Random(3);
    for length in [
        0, 1, 15, 16, 17, 63, 64, 65, 128, 255, 959, 960, 961, 1024, 1424, 4096, 65_000,
    ] {
        let (key, counter) = (random.key(), random.next());
        let mut sealed = random.bytes(length);
        let tag = cipher.seal(&key, counter, &mut sealed);
        let mut refuse = |key: &[u8; 32], counter, sealed: &[u8], tag: &[u8; 16], what: &str| {
            let mut data = sealed.to_vec();
            assert!(!cipher.open(key, counter, &mut data, tag), "{what}, {length} bytes");
            assert!(data.iter().all(|byte| *byte == 0), "{what}: {length} bytes stay readable");
        };
        for bit in 0..128 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            refuse(&key, counter, &sealed, &wrong, "a bit of the tag");
        }
        let mut other = key;
        other[31] ^= 0x80;
        refuse(&other, counter, &sealed, &tag, "another key");
        refuse(&key, counter.wrapping_add(1), &sealed, &tag, "another counter");
        if let Some(last) = length.checked_sub(1) {
            for place in [0, last / 2, last] {
                let mut wrong = sealed.clone();
                wrong[place] ^= 1;
                refuse(&key, counter, &wrong, &tag, "a bit of the data");
            }
            refuse(&key, counter, &sealed[..last], &tag, "cut");
        }
        assert!(cipher.open(&key, counter, &mut sealed, &tag), "unchanged, {length} bytes");
    }
}

#[test]
fn threads_cipher_at_once_each_with_its_own() {
    if ipsec_mb("threads_cipher_at_once_each_with_its_own").is_none() {
        return;
    }
    let thread = |seed| {
        move || {
            let mut random = Random(seed);
            // Made and given back over and over, beside the others'.
            for _ in 0..8 {
                let mut cipher = IpsecMb::new().unwrap();
                for _ in 0..50 {
                    let length = random.next() as usize % 1600;
                    compare(&mut cipher, &mut random, length, 16);
                }
            }
        }
    };
    let threads: Vec<_> = (10..16).map(|seed| std::thread::spawn(thread(seed))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn moves_to_the_thread_that_uses_it() {
    let mut cipher = best().unwrap_or_else(|error| panic!("{error}"));
    std::thread::spawn(move || compare(&mut cipher, &mut Random(20), 1424, 0))
        .join()
        .unwrap();
}

/// The RFC's examples of the whole AEAD have additional data, which WireGuard has not. What can be held to the RFC's own numbers is the
/// key stream of a zero key and zero nonce. The AEAD encrypts from block 1 on (section 2.8), which is appendix A.1's test vector
/// 2; test vector 1 is block 0, and begins with Poly1305's key.
#[test]
fn zeros_become_the_key_stream_of_rfc_8439() {
    let Some(mut cipher) = ipsec_mb("zeros_become_the_key_stream_of_rfc_8439") else {
        return;
    };
    let block_1 = [
        0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d, 0xcb, 0x0f, 0x29, 0xa0,
        0x48, 0xe3, 0x65, 0x69, 0x12, 0xc6, 0x53, 0x3e, 0x32, 0xee, 0x7a, 0xed, 0x29, 0xb7, 0x21, 0x76, 0x9c, 0xe6, 0x4e, 0x43,
        0xd5, 0x71, 0x33, 0xb0, 0x74, 0xd8, 0x39, 0xd5, 0x31, 0xed, 0x1f, 0x28, 0x51, 0x0a, 0xfb, 0x45, 0xac, 0xe1, 0x0a, 0x1f,
        0x4b, 0x79, 0x4d, 0x6f,
    ];
    let mut data = [0; 64];
    let tag = cipher.seal(&[0; 32], 0, &mut data);
    assert_eq!(data, block_1);
    assert!(cipher.open(&[0; 32], 0, &mut data, &tag));
    assert_eq!(data, [0; 64]);

    // Of no data at all the tag is of one block: two lengths of 0, with a 1 above them.
    let block_0: [u8; 32] = [
        0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8,
        0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7,
    ];
    assert_eq!(cipher.seal(&[0; 32], 0, &mut []), tag_of_nothing(&block_0));
}

/// 2^128 · r + s modulo 2^130 - 5, then modulo 2^128; `r` is clamped (RFC 8439, section 2.5).
fn tag_of_nothing(key: &[u8; 32]) -> [u8; 16] {
    let word = |range: std::ops::Range<usize>| u128::from_le_bytes(key[range].try_into().unwrap());
    let r = word(0..16) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    // With r = 4 a + b, 2^128 r = 2^130 a + 2^128 b, and 2^130 is 5 here. As 5 a is below 2^125 and b below 4, the sum
    // 5 a + 2^128 b is below 2^130 - 5; its lower 128 bits are 5 a.
    (5 * (r >> 2)).wrapping_add(word(16..32)).to_le_bytes()
}
