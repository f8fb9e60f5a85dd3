use super::*;
use crate::aead::{Aead, Ring};

/// The vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s that the Haskell library cacophony publishes and others
/// (snow: tests/vectors/cacophony.txt, noise-c) try themselves against.
mod cacophony {
    pub(super) const PROLOGUE: &str = "4a6f686e2047616c74";
    pub(super) const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
    pub(super) const INITIATOR_STATIC: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
    pub(super) const INITIATOR_EPHEMERAL: &str = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
    pub(super) const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
    pub(super) const RESPONDER_STATIC: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
    pub(super) const RESPONDER_EPHEMERAL: &str = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
    /// Plain and sealed, in turn from the initiator and the responder.
    pub(super) const MESSAGES: [(&str, &str); 6] = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e4967\
             82ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f36571\
             7edbf34d33e87a",
        ),
        (
            "462e20412e20486179656b",
            "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
        ),
        (
            "4361726c204d656e676572",
            "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
        ),
        (
            "4a65616e2d426170746973746520536179",
            "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
        ),
    ];
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(hex: &str) -> [u8; 32] {
    bytes(hex).try_into().unwrap()
}

/// Both ends with the vector's keys, after both messages; every byte of them compared.
fn handshake() -> ((Key, Key), (Key, Key)) {
    use cacophony::*;
    let secret = |hex| StaticSecret::from(key(hex));
    let (initiator, responder) = (secret(INITIATOR_STATIC), secret(RESPONDER_STATIC));
    let responder_public = Point::from(&responder);
    assert_eq!(responder_public.to_bytes(), key(RESPONDER_PUBLIC));
    let initiator_public = Point::from(&initiator);
    let static_static = initiator.diffie_hellman(&responder_public).to_bytes();
    let start = || Symmetric::new(&bytes(PROLOGUE), responder_public.as_bytes());
    let psk = key(PSK);

    let (payload, sealed) = (bytes(MESSAGES[0].0), bytes(MESSAGES[0].1));
    let ephemeral = secret(INITIATOR_EPHEMERAL);
    let writer = Writer {
        own_public: initiator_public.as_bytes(),
        peer: &responder_public,
        static_static: &static_static,
        ephemeral: &ephemeral,
    };
    let mut message = vec![0; payload.len() + 96];
    let initiated = write_first(start(), &writer, &payload, &mut message).unwrap();
    assert_eq!(message, sealed);

    let first = read_first(start(), &responder, &sealed).unwrap();
    assert_eq!(&first.peer, initiator_public.as_bytes());
    let mut state = first.state;
    let mut read = vec![0; payload.len()];
    state.read_payload(&static_static, first.payload, &mut read).unwrap();
    assert_eq!(read, payload);

    let (payload, sealed) = (bytes(MESSAGES[1].0), bytes(MESSAGES[1].1));
    let answer = Answer {
        peer_ephemeral: &first.ephemeral,
        peer: &initiator_public,
        psk: &psk,
        ephemeral: &secret(RESPONDER_EPHEMERAL),
    };
    let mut message = vec![0; payload.len() + 48];
    let responder_keys = write_second(state, &answer, &payload, &mut message).unwrap();
    assert_eq!(message, sealed);

    let mut read = vec![0; payload.len()];
    let initiator_keys = read_second(initiated, &ephemeral, &initiator, &psk, &sealed, &mut read).unwrap();
    assert_eq!(read, payload);
    (initiator_keys, responder_keys)
}

#[test]
fn the_published_vector_is_met_in_both_directions() {
    let (initiator, responder) = handshake();
    assert_eq!(initiator, responder);
    let (from_initiator, from_responder) = initiator;
    for (at, (plain, sealed)) in cacophony::MESSAGES.iter().enumerate().skip(2) {
        let (key, counter) = if at % 2 == 0 {
            (&from_initiator, at as u64 / 2 - 1)
        } else {
            (&from_responder, at as u64 / 2 - 1)
        };
        let mut data = bytes(plain);
        let tag = Ring.seal(key, counter, &mut data);
        data.extend(tag);
        assert_eq!(data, bytes(sealed), "message {at}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let own = StaticSecret::from([1; 32]);
    let peer = Point::from(&StaticSecret::from([2; 32]));
    let state = || Symmetric::new(b"", &[3; 32]);
    let ephemeral = StaticSecret::from([4; 32]);
    let writer = Writer {
        own_public: &[5; 32],
        peer: &peer,
        static_static: &[6; 32],
        ephemeral: &ephemeral,
    };
    for room in (0..96).chain([97]) {
        assert!(write_first(state(), &writer, &[], &mut vec![0; room]).is_none());
    }
    for len in 0..80 {
        assert!(read_first(state(), &own, &vec![9; len]).is_none());
    }
    for len in 0..48 {
        assert!(read_second(state(), &ephemeral, &own, &[0; 32], &vec![9; len], &mut []).is_none());
    }
}

#[test]
fn points_of_low_order_are_refused() {
    // RFC 7748 section 6.1: with u = 0 and u = 1 every product is zero, and so it is with the other points of low order.
    let mut one = [0; 32];
    one[0] = 1;
    let own = StaticSecret::from([1; 32]);
    let good = Point::from(&StaticSecret::from([2; 32]));
    for low in [[0; 32], one].map(Point::from) {
        let state = || Symmetric::new(b"", &[3; 32]);
        let ephemeral = StaticSecret::from([4; 32]);
        let writer = Writer {
            own_public: &[5; 32],
            peer: &low,
            static_static: &[6; 32],
            ephemeral: &ephemeral,
        };
        assert!(write_first(state(), &writer, &[], &mut [0; 96]).is_none());
        let mut message = [0; 96];
        message[..32].copy_from_slice(low.as_bytes());
        assert!(read_first(state(), &own, &message).is_none());
        for (peer_ephemeral, peer) in [(&low, &good), (&good, &low)] {
            let answer = Answer {
                peer_ephemeral,
                peer,
                psk: &[0; 32],
                ephemeral: &ephemeral,
            };
            assert!(write_second(state(), &answer, &[], &mut [0; 48]).is_none());
        }
        assert!(read_second(state(), &ephemeral, &own, &[0; 32], &message[..48], &mut []).is_none());
    }
}
