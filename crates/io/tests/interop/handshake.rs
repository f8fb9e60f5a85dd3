//! Handshakes in both roles, over IPv4 and IPv6, with and without a pre-shared key.

use fielato_wireguard::PresharedKey;

use crate::common::transfers::{small_transfer, transfer};
use crate::end::{Peer, Settings, outer, pair};

pub fn begun_by_either_side(peer: Peer) {
    for (v6, psk, we_begin) in (0..8).map(|case: u8| (case & 1 != 0, case & 2 != 0, case & 4 != 0)) {
        eprintln!("{peer:?}: outer IPv6: {v6}, pre-shared key: {psk}, we begin: {we_begin}");
        let preshared = psk.then(|| PresharedKey::generate().unwrap());
        let settings = |begins: bool, other: u8| Settings {
            preshared: preshared.clone(),
            endpoint: begins.then(|| outer(other, v6)),
            keepalive: 0,
        };
        let (mut a, mut b) = pair(peer, settings(we_begin, 2), settings(!we_begin, 1));
        b.start();
        a.start();
        let (first, second) = if we_begin { (&a, &b) } else { (&b, &a) };
        assert!(
            !second
                .namespace
                .attempt(&format!("ping -c 1 -W 1 10.8.0.{}", if we_begin { 1 } else { 2 })),
            "no endpoint is known yet"
        );
        assert!(first.reaches_other(), "the handshake failed");
        assert!(second.reaches_other(), "the endpoint was not learnt");
        assert_eq!(a.shown("endpoints"), outer(2, v6).to_string());
        assert_eq!(b.shown("endpoints"), outer(1, v6).to_string());
        for end in [&a, &b] {
            assert!(end.latest_handshake() > 0 || !end.tells_the_truth());
        }

        // Both ways, one over each family.
        let bytes = small_transfer();
        transfer(&a.namespace, &b.namespace, "10.8.0.2".parse().unwrap(), bytes);
        transfer(&b.namespace, &a.namespace, "fd08::1".parse().unwrap(), bytes);
        let (a_counts, b_counts) = (a.counts(), b.counts());
        for count in [a_counts.0, a_counts.1, b_counts.0, b_counts.1] {
            assert!(count > bytes, "{a_counts:?} {b_counts:?}");
        }
    }
}

pub fn a_preshared_key_must_agree(peer: Peer) {
    let settings = |other: u8| Settings {
        preshared: Some(PresharedKey::generate().unwrap()),
        endpoint: Some(outer(other, false)),
        keepalive: 0,
    };
    let (mut a, mut b) = pair(peer, settings(2), settings(1));
    b.start();
    a.start();
    assert!(!a.namespace.attempt("ping -c 2 -W 1 10.8.0.2"));
    assert!(!b.namespace.attempt("ping -c 2 -W 1 10.8.0.1"));
    // Whoever answers an initiation with the wrong key is not heard: no session comes about.
    assert_eq!(a.device().status().peers[0].latest_handshake, None);
    assert_eq!(b.latest_handshake(), 0);
}
