//! New keys in time, old keys gone in time.

use fielato_wireguard::DropReason;
use fielato_wireguard::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};
use fielato_wireguard::shard::Usage;

use crate::net::{A, B, Case, DATA, INITIATION, Link, Net, RESPONSE, millis, seconds};

/// Sends packets one way, ten a second for so long; all must arrive.
fn stream(net: &mut Net, from: usize, to: usize, tenths: u32) {
    for id in 0..tenths {
        let packet = net.packet(from, to, 50, id);
        net.tun(from, &packet);
        net.run(millis(100));
        assert_eq!(net.take(to), [packet], "at {:.1} s", net.age(net.now));
    }
}

#[test]
fn the_initiator_renews_after_120_seconds_and_no_packet_is_lost() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        stream(&mut net, A, B, 3000);
        let log = net.take_log();
        let renewals: Vec<f64> = log
            .iter()
            .filter(|datagram| datagram.kind() == INITIATION)
            .map(|datagram| net.age(datagram.at))
            .collect();
        assert_eq!(renewals.len(), 2, "{renewals:?}");
        assert!((120.0..120.3).contains(&renewals[0]) && (240.0..240.6).contains(&renewals[1]));
        assert!(
            log.iter()
                .all(|datagram| datagram.kind() != INITIATION || datagram.from == net.nodes[A].address)
        );
        assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
        // The current and the previous one.
        assert_eq!((net.usage(A).indexes, net.usage(B).indexes), (2, 2));
    }
}

/// The responder leaves it to the initiator: it sends with the old keys as long as they last.
#[test]
fn the_responder_does_not_renew_by_itself() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.run(seconds(1));
        // A's answers get lost, but B does not know: nothing asks A for a renewal.
        for second in 1..179 {
            let packet = net.packet(B, A, 50, second);
            let sealed = net.seal(B, &packet);
            assert_eq!(sealed[0], DATA);
            net.run(seconds(1));
            // What asks B for a handshake is that nobody answers for 15 s; not the keys' age.
            let from = net.nodes[A].address;
            if second % 10 == 0 && net.now - net.start < seconds(110) {
                let keepalive = net.packet(A, B, 4, second);
                let sealed = net.seal(A, &keepalive);
                net.udp(B, from, &sealed);
            }
            if second == 110 {
                assert_eq!(net.count(B, INITIATION), 0);
            }
        }
    }
}

/// A only receives: it renews when 15 s are left, or its keys would end without anybody's asking.
#[test]
fn an_initiator_that_only_receives_renews_at_165_seconds() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        stream(&mut net, B, A, 1700);
        let log = net.take_log();
        let begun: Vec<_> = log.iter().filter(|datagram| datagram.kind() == INITIATION).collect();
        // A answers with keepalives, and those don't ask for keys.
        assert_eq!(begun.len(), 1, "{case:?}");
        assert_eq!(begun[0].from, net.nodes[A].address);
        let age = net.age(begun[0].at);
        assert!((165.0..165.3).contains(&age), "{age}");
        assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
    }
}

#[test]
fn a_session_is_over_at_180_seconds() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let late = net.packet(A, B, 10, 7);
        net.run(seconds(170));
        let sealed = net.seal(A, &late);
        net.take_log();
        net.link = Link::CUT;
        net.run_until(net.start + millis(179_990));
        let from = net.nodes[A].address;
        let early = net.packet(A, B, 10, 8);
        let early_sealed = net.seal(A, &early);
        assert_eq!(net.udp(B, from, &early_sealed), Some(early));
        net.run_until(net.start + millis(180_031));
        assert_eq!(net.udp(B, from, &sealed), None);
        assert_eq!(net.dropped(B, DropReason::NoSession), 1);
        // Neither does anybody send with it: a packet waits for new keys.
        for (node, peer) in [(A, B), (B, A)] {
            let packet = net.packet(node, peer, 10, 9);
            net.take_log();
            net.tun(node, &packet);
            assert!(net.log.iter().all(|datagram| datagram.kind() != DATA));
            assert_eq!(net.usage(node).staged, 1);
        }
    }
}

#[test]
fn keys_are_forgotten_after_540_seconds_and_the_memory_with_them() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.run_until(net.start + seconds(539));
        for node in [A, B] {
            assert_eq!((net.usage(node).tunnels, net.usage(node).indexes), (1, 1));
        }
        net.run_until(net.start + seconds(541));
        for node in [A, B] {
            assert_eq!(net.usage(node), Usage::default(), "{case:?}, node {node}");
        }
        assert!(net.peer_status(A, B).latest_handshake.is_some(), "what wg shows stays");
        // And all begins anew.
        let packet = net.packet(B, A, 10, 1);
        net.tun(B, &packet);
        net.settle();
        assert_eq!(net.take(A), [packet]);
    }
}

/// The keys' end comes while new ones are being asked for: what waits goes on waiting.
#[test]
fn what_waits_outlives_the_old_keys() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.link = Link::CUT;
        net.run_until(net.start + seconds(538));
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        net.run_until(net.start + seconds(542));
        net.link = Link::GOOD;
        net.run(seconds(6));
        assert_eq!(net.take(B), [packet], "{case:?}");
    }
}

#[test]
fn what_was_under_way_is_still_read_after_a_renewal() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let from = net.nodes[A].address;
        let slow: Vec<_> = (0..3).map(|id| net.packet(A, B, 10, 100 + id)).collect();
        let sealed: Vec<_> = slow.iter().map(|packet| net.seal(A, packet)).collect();
        net.run(seconds(121));
        net.take_log();
        stream(&mut net, A, B, 3);
        assert_eq!((net.count(A, INITIATION), net.count(B, RESPONSE)), (1, 1));
        assert_eq!(net.udp(B, from, &sealed[0]), Some(slow[0].clone()), "with the previous keys");
        assert_eq!(net.udp(B, from, &sealed[0]), None);
        assert_eq!(net.drops(B), [(DropReason::Replayed, 1)]);
        net.take(B);
        // Two renewals later those keys are gone.
        net.run(seconds(121));
        stream(&mut net, A, B, 3);
        assert_eq!(net.udp(B, from, &sealed[1]), None);
        assert_eq!(net.dropped(B, DropReason::UnknownIndex), 1);
    }
}

/// B has answered a renewal, and its answer is lost: B goes on with the old keys, which A still has.
#[test]
fn the_next_keys_are_used_after_they_were_confirmed() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.run(seconds(121));
        net.take_log();
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        net.run(millis(5));
        net.link = Link::CUT;
        net.run(millis(6));
        assert_eq!((net.count(A, INITIATION), net.count(B, RESPONSE)), (1, 1));
        assert_eq!(net.usage(B).indexes, 2);
        net.link = Link::GOOD;
        let back = net.packet(B, A, 10, 2);
        net.tun(B, &back);
        net.settle();
        assert_eq!((net.take(A), net.take(B)), (vec![back], vec![packet]));
        // The handshake is tried again, and replaces the one that came to nothing.
        net.run(seconds(6));
        assert_eq!((net.count(A, INITIATION), net.count(B, RESPONSE)), (2, 2));
        assert_eq!((net.usage(A).indexes, net.usage(B).indexes), (2, 2));
        stream(&mut net, B, A, 3);
    }
}

#[test]
fn counters_have_an_end() {
    for case in Case::all() {
        for (node, peer) in [(A, B), (B, A)] {
            let mut net = Net::joined(case);
            net.run(seconds(6));
            net.take_log();
            let skip = |net: &mut Net, counter| {
                let device = &mut net.nodes[node].device;
                device.with_control(|control| control.shards[0].skip_counters(0, counter));
            };
            skip(&mut net, REKEY_AFTER_MESSAGES);
            stream(&mut net, node, peer, 1);
            assert_eq!(net.count(node, INITIATION), 0);
            // Whoever sent so many asks for new keys, initiator or not.
            stream(&mut net, node, peer, 1);
            assert_eq!(net.count(node, INITIATION), 1, "node {node}");
            net.run(seconds(6));
            net.take_log();
            skip(&mut net, REJECT_AFTER_MESSAGES - 2);
            net.link = Link::CUT;
            let packets: Vec<_> = (0..4).map(|id| net.packet(node, peer, 10, id)).collect();
            packets.iter().for_each(|packet| net.tun(node, packet));
            assert_eq!(
                (net.count(node, DATA), net.usage(node).staged),
                (2, 2),
                "the last two counters"
            );
            net.link = Link::GOOD;
            net.run(seconds(6));
            assert_eq!(net.take(peer), packets[2..]);
        }
    }
}

/// A clock that stands still or goes back does not keep a device from new handshakes: peers refuse timestamps that are
/// not newer.
#[test]
fn a_clock_set_back_does_not_block_new_handshakes() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        net.nodes[A].clock_ahead = seconds(10 * 365 * 24 * 3600);
        net.timeout(A);
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        net.settle();
        assert_eq!(net.take(B), std::slice::from_ref(&packet));
        net.nodes[A].clock_ahead = seconds(0);
        net.timeout(A);
        for _ in 0..3 {
            net.run(seconds(200));
            net.tun(A, &packet);
            net.settle();
            assert_eq!(net.take(B), std::slice::from_ref(&packet));
        }
        assert_eq!(net.drops(B), []);
    }
}
