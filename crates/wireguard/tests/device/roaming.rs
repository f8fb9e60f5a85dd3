//! Peers that move, and those who would like to move them.

use fielato_wireguard::DropReason;

use crate::net::{A, B, Case, DATA, INITIATION, Link, Net, RESPONSE, millis, seconds};

#[test]
fn a_peer_is_followed_to_its_new_address_and_port() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let moves = if case.v6 {
            ["[2001:db8::1]:9", "[2001:db8:1::1]:9", "198.51.100.1:9", "[2001:db8::1]:1001"]
        } else {
            ["192.0.2.1:9", "198.51.100.1:9", "[2001:db8:1::1]:9", "192.0.2.1:1001"]
        };
        for (id, address) in (0..).zip(moves) {
            net.move_to(A, address);
            let lost = net.packet(B, A, 10, 100 + id);
            net.tun(B, &lost);
            net.settle();
            assert_eq!(net.take(A).len(), 0, "B does not know yet");
            let (forth, back) = (net.packet(A, B, 10, id), net.packet(B, A, 10, id));
            net.tun(A, &forth);
            net.settle();
            net.tun(B, &back);
            net.settle();
            assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]));
            assert_eq!(net.endpoint(B, A), Some(address.parse().unwrap()));
        }
        assert_eq!(net.count(A, INITIATION) + net.count(B, INITIATION), 0, "the session stays");
    }
}

/// A keepalive moves its sender as well as a packet does.
#[test]
fn a_keepalive_moves_a_peer() {
    let mut net = Net::joined(Case::V4);
    let back = net.packet(B, A, 10, 1);
    net.tun(B, &back);
    net.settle();
    net.move_to(A, "198.51.100.1:9");
    net.run(seconds(11));
    assert_eq!(net.endpoint(B, A), Some("198.51.100.1:9".parse().unwrap()));
}

#[test]
fn only_authentic_messages_move_a_peer() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let (home, elsewhere) = (net.nodes[A].address, net.elsewhere());
        let packet = net.packet(A, B, 10, 1);
        let good = net.seal(A, &packet);
        let mut damaged = good.clone();
        damaged[20] ^= 1;
        net.udp(B, elsewhere, &damaged);
        assert_eq!(net.endpoint(B, A), Some(home));
        assert_eq!(net.udp(B, elsewhere, &good), Some(packet));
        assert_eq!(net.endpoint(B, A), Some(elsewhere));
        net.udp(B, home, &good);
        assert_eq!(net.endpoint(B, A), Some(elsewhere), "a replay moves nobody");
        let back = net.packet(B, A, 10, 2);
        net.take_log();
        net.tun(B, &back);
        assert_eq!(net.log[0].to, elsewhere);
    }
}

#[test]
fn a_replayed_handshake_moves_nobody() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        net.settle();
        net.run(seconds(1));
        let log = net.take_log();
        let message = |kind| log.iter().find(|datagram| datagram.kind() == kind).unwrap().bytes.clone();
        let (home_a, home_b, elsewhere) = (net.nodes[A].address, net.nodes[B].address, net.elsewhere());
        net.udp(B, elsewhere, &message(INITIATION));
        assert_eq!(net.drops(B), [(DropReason::ReplayedHandshake, 1)]);
        net.udp(A, elsewhere, &message(RESPONSE));
        assert_eq!(net.drops(A), [(DropReason::Unexpected, 1)]);
        assert_eq!((net.endpoint(B, A), net.endpoint(A, B)), (Some(home_a), Some(home_b)));
        assert!(net.log.is_empty(), "and neither is answered");
    }
}

/// An initiation that is delivered first from elsewhere: it is answered there, and the tunnel goes on where it was.
#[test]
fn a_diverted_initiation_moves_nobody() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.run(seconds(121));
        net.link = Link::CUT;
        net.take_log();
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        let initiation = net
            .log
            .iter()
            .find(|datagram| datagram.kind() == INITIATION)
            .unwrap()
            .bytes
            .clone();
        let (home, elsewhere) = (net.nodes[A].address, net.elsewhere());
        net.udp(B, elsewhere, &initiation);
        assert_eq!(
            net.log.last().map(|datagram| (datagram.to, datagram.kind())),
            Some((elsewhere, RESPONSE))
        );
        assert_eq!(net.endpoint(B, A), Some(home));
    }
}

#[test]
fn either_side_may_begin_anew() {
    for case in Case::all() {
        for restarted in [A, B] {
            let other = 1 - restarted;
            let mut net = Net::joined(case);
            net.run(seconds(30));
            let peer = net.as_peer(other);
            net.restart(restarted, vec![peer]);
            // The other side sends into the void until it notices, in about 15 s.
            let begin = net.now;
            let mut arrived = None;
            for id in 0..400 {
                let packet = net.packet(other, restarted, 10, id);
                net.tun(other, &packet);
                net.run(millis(100));
                if !net.take(restarted).is_empty() {
                    arrived = Some(net.now - begin);
                    break;
                }
            }
            let arrived = arrived.expect("a new session");
            assert!((seconds(14)..millis(15_600)).contains(&arrived), "{arrived:?}");
            assert!(net.dropped(restarted, DropReason::UnknownIndex) > 0);

            // Who was restarted is heard at once.
            let peer = net.as_peer(other);
            net.restart(restarted, vec![peer]);
            net.run(seconds(1));
            let packet = net.packet(restarted, other, 10, 1000);
            net.tun(restarted, &packet);
            net.settle();
            assert_eq!(net.take(other), [packet]);
        }
    }
}

/// A device that was restarted elsewhere, with an old address on the other side.
#[test]
fn a_restart_at_another_address() {
    let mut net = Net::joined(Case::V4);
    let peer = net.as_peer(B);
    net.restart(A, vec![peer]);
    net.move_to(A, "198.51.100.1:9");
    net.run(seconds(1));
    let (forth, back) = (net.packet(A, B, 10, 1), net.packet(B, A, 10, 2));
    net.tun(A, &forth);
    net.settle();
    net.tun(B, &back);
    net.settle();
    assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]));
    assert_eq!(net.endpoint(B, A), Some(net.nodes[A].address));
    assert!(net.count(B, DATA) > 0);
}
