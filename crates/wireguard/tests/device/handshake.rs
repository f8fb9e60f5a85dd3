//! First packets, retries, and two ends that begin at once.

use fielato_wireguard::{DropReason, PeerChange, PeerPackets, PresharedKey};

use crate::net::{A, B, Case, DATA, INITIATION, Link, Net, RESPONSE, millis, seconds};

#[test]
fn packets_that_wait_for_the_handshake_arrive_in_order() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let packets: Vec<Vec<u8>> = (0..20).map(|id| net.packet(A, B, 10 + id as usize, id)).collect();
        for packet in &packets {
            net.tun(A, packet);
        }
        assert_eq!((net.log.len(), net.count(A, INITIATION)), (1, 1), "one handshake is enough");
        assert_eq!(net.usage(A).staged, 20);
        net.settle();
        assert_eq!(net.take(B), packets, "{case:?}");
        assert_eq!((net.count(B, RESPONSE), net.count(A, DATA)), (1, 20));
        let back = net.packet(B, A, 9, 99);
        net.tun(B, &back);
        net.settle();
        assert_eq!(net.take(A), [back]);
        assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
        assert_eq!((net.usage(A).staged, net.usage(A).indexes, net.usage(B).indexes), (0, 1, 1));
    }
}

#[test]
fn both_families_go_through_one_session() {
    let mut net = Net::joined(Case::V4);
    let v6 = crate::net::packet("fd00::1", "fd00::2", b"six");
    net.tun(A, &v6);
    net.settle();
    assert_eq!(net.take(B), [v6]);
    assert_eq!(net.count(A, INITIATION), 0);
}

/// Both sides' counters and the time of the handshake, as `wg show` has them.
#[test]
fn counters_and_the_time_of_the_handshake() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        assert_eq!(net.peer_status(A, B).latest_handshake, None);
        let packet = net.packet(A, B, 100, 1);
        net.tun(A, &packet);
        net.settle();
        let done = net.wall(seconds(0));
        let data = packet.len().next_multiple_of(16) as u64 + 32;
        let (a, b) = (net.peer_status(A, B), net.peer_status(B, A));
        assert_eq!((a.tx_bytes, a.rx_bytes), (148 + data, 92));
        assert_eq!((b.tx_bytes, b.rx_bytes), (92, 148 + data));
        // Of the packets inside, what waited for the handshake is one; B's answers to it had none in them.
        let packets = |rx, tx| Some(PeerPackets { rx, tx });
        assert_eq!((a.packets, b.packets), (packets(0, 1), packets(1, 0)));
        // B is sure of it when A's first data arrived, one way later.
        assert_eq!(a.latest_handshake, Some(done - millis(10)));
        assert_eq!(b.latest_handshake, Some(done));
    }
}

#[test]
fn an_initiation_is_repeated_every_five_seconds_and_given_up() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        net.link = Link::CUT;
        let packets: Vec<Vec<u8>> = (0..5).map(|id| net.packet(A, B, 10, id)).collect();
        for packet in &packets {
            net.tun(A, packet);
        }
        net.run(seconds(600));
        let log = net.take_log();
        assert!(log.iter().all(|datagram| datagram.kind() == INITIATION));
        assert_eq!(log.len(), 1 + 18, "the first, and 18 more in 90 s");
        let gaps: Vec<_> = log.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        for gap in &gaps {
            assert!((seconds(5)..=millis(5333)).contains(gap), "{gap:?}");
        }
        assert!(gaps.iter().any(|gap| *gap != gaps[0]), "the waits vary");
        assert_eq!(net.drops(A), [(DropReason::HandshakeTimedOut, 5)]);
        assert_eq!(net.usage(A).staged, 0);
        // Silence, until there is something to send again.
        net.run(seconds(1000));
        assert!(net.log.is_empty());
        assert_eq!((net.usage(A).tunnels, net.usage(A).indexes), (0, 0), "and nothing is left");
        net.link = Link::GOOD;
        net.tun(A, &packets[0]);
        net.settle();
        assert_eq!(net.take(B), packets[..1]);
    }
}

#[test]
fn no_second_initiation_within_five_seconds() {
    let mut net = Net::pair(Case::V4);
    net.link = Link::CUT;
    // Packets all the time: what asks for a handshake does not make it come sooner, nor put it off.
    for id in 0..300 {
        let packet = net.packet(A, B, 10, id);
        net.tun(A, &packet);
        net.run(millis(100));
    }
    let log = net.take_log();
    assert!((5..=6).contains(&log.len()), "{} initiations in 30 s", log.len());
    for pair in log.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!((seconds(5)..=millis(5333)).contains(&gap), "{gap:?}");
    }
    // Of 300 that waited, the newest 128 are left.
    assert_eq!(net.drops(A), [(DropReason::QueueFull, 300 - 128)]);
    net.link = Link::GOOD;
    net.run(seconds(6));
    let expected: Vec<Vec<u8>> = (172..300).map(|id| net.packet(A, B, 10, id)).collect();
    assert_eq!(net.take(B), expected);
}

#[test]
fn a_lost_response_is_asked_for_again() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        // The initiation is under way; its answer gets lost.
        net.link = Link::CUT;
        net.settle();
        assert_eq!((net.count(B, RESPONSE), net.take(B).len()), (1, 0));
        net.link = Link::GOOD;
        net.run(seconds(6));
        assert_eq!(net.take(B), [packet]);
        assert_eq!((net.count(A, INITIATION), net.count(B, RESPONSE)), (2, 2));
        assert_eq!(net.usage(B).indexes, 1, "the number of the unused session is free again");
    }
}

/// The responder may not send before the initiator has used the new session: its first message would be one that the
/// initiator cannot read when the response was lost.
#[test]
fn the_responder_sends_when_the_initiator_has_spoken() {
    let mut net = Net::pair(Case::V4);
    let forth = net.packet(A, B, 10, 1);
    net.tun(A, &forth);
    net.run(millis(15));
    assert_eq!((net.count(B, RESPONSE), net.take(B).len()), (1, 0));
    let back = net.packet(B, A, 10, 2);
    net.tun(B, &back);
    assert_eq!((net.count(B, DATA), net.usage(B).staged), (0, 1), "it waits");
    net.settle();
    assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]));
}

#[test]
fn both_ends_may_begin_at_once() {
    for case in Case::all() {
        // The link's delay decides whose messages cross.
        for delay in [0, 1, 10, 400] {
            let mut net = Net::pair(case);
            net.link.delay = millis(delay);
            let (forth, back) = (net.packet(A, B, 10, 1), net.packet(B, A, 10, 2));
            net.tun(A, &forth);
            net.tun(B, &back);
            net.run(seconds(3));
            assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]), "{case:?}, {delay} ms");
            // And both go on.
            for id in 0..50 {
                let (forth, back) = (net.packet(A, B, 10, id), net.packet(B, A, 10, id));
                net.tun(A, &forth);
                net.tun(B, &back);
                net.run(seconds(1));
                assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]));
            }
            assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
            assert!(net.usage(A).indexes <= 3 && net.usage(B).indexes <= 3);
        }
    }
}

#[test]
fn preshared_keys_must_agree() {
    for v6 in [false, true] {
        let case = Case { v6, psk: false };
        for (at_a, at_b, works) in [(true, true, true), (true, false, false), (false, true, false)] {
            let mut net = Net::pair(case);
            let key = |on: bool| on.then_some(PresharedKey([9; 32]));
            net.change(A, B, |peer| peer.preshared_key = key(at_a));
            net.change(B, A, |peer| peer.preshared_key = key(at_b));
            let packet = net.packet(A, B, 10, 1);
            net.tun(A, &packet);
            net.settle();
            assert_eq!(net.take(B).len(), usize::from(works));
            assert_eq!(net.dropped(A, DropReason::NotAuthentic), u64::from(!works));
        }
    }
}

/// As in the Linux driver: a new pre-shared key is for the next handshake.
#[test]
fn a_new_preshared_key_leaves_the_session_standing() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        for (node, peer) in [(A, B), (B, A)] {
            net.change(node, peer, |peer| peer.preshared_key = Some(PresharedKey([3; 32])));
        }
        let packet = net.packet(A, B, 10, 2);
        net.tun(A, &packet);
        net.settle();
        assert_eq!((net.take(B), net.count(A, INITIATION)), (vec![packet], 0));
        // The next handshake takes place under the new key.
        net.run(seconds(125));
        let packet = net.packet(A, B, 10, 3);
        net.tun(A, &packet);
        net.settle();
        assert_eq!((net.count(A, INITIATION), net.count(B, RESPONSE)), (1, 1));
        assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
    }
}

#[test]
fn strangers_are_not_answered() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let stranger = net.add();
        net.change(stranger, B, |_| ());
        let packet = net.packet(stranger, B, 10, 1);
        net.tun(stranger, &packet);
        net.settle();
        assert_eq!((net.count(B, RESPONSE), net.take(B).len()), (0, 0));
        assert_eq!(net.drops(B), [(DropReason::UnknownPeer, 1)]);
        assert_eq!(net.usage(B).tunnels, 0);
        // Once it is a peer, its next try succeeds.
        let peer = net.as_peer(stranger);
        net.apply(B, PeerChange::Set(peer));
        net.run(seconds(6));
        assert_eq!(net.take(B), [packet]);
    }
}

/// Whoever knows two public keys can write an initiation in a peer's name that fails its proof.
#[test]
fn an_initiation_in_a_peers_name_leaves_nothing_behind() {
    let mut net = Net::pair(Case { v6: false, psk: true });
    let mallory = net.add();
    net.change(mallory, B, |_| ());
    let packet = net.packet(mallory, B, 10, 1);
    net.tun(mallory, &packet);
    let initiation = net.take_log().remove(0).bytes;
    // Its sealed timestamp is damaged, and mac1 is right again.
    let mut forged = initiation.clone();
    forged[90] ^= 1;
    let key = net.nodes[B].key.public_key();
    crate::cookies::sign(&mut forged, &key);
    let peer = net.as_peer(mallory);
    net.apply(B, PeerChange::Set(peer));
    let address = net.nodes[mallory].address;
    net.udp(B, address, &forged);
    assert_eq!(net.drops(B), [(DropReason::NotAuthentic, 1)]);
    assert_eq!(net.usage(B), Default::default());
}
