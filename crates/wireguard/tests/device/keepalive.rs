//! Messages without a packet, and what their absence means.

use fielato_wireguard::DropReason;

use crate::net::{A, B, Case, DATA, Datagram, INITIATION, Link, Net, RESPONSE, millis, seconds};

/// When keepalives left the node, in seconds after the beginning.
fn keepalives(net: &Net, node: usize) -> Vec<f64> {
    let address = net.nodes[node].address;
    let sent = net.log.iter().filter(|datagram| datagram.from == address);
    let empty = sent.filter(|datagram| datagram.is_keepalive());
    empty.map(|datagram| net.age(datagram.at)).collect()
}

#[test]
fn who_hears_and_says_nothing_tells_after_ten_seconds_that_it_is_there() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let arrived = net.age(net.now);
        net.run(seconds(300));
        // B heard A's packet; A heard only a keepalive, which asks for no answer.
        assert_eq!(keepalives(&net, B).len(), 1, "{case:?}");
        assert!((keepalives(&net, B)[0] - arrived - 10.0).abs() < 0.001);
        assert_eq!(keepalives(&net, A), Vec::<f64>::new());
        assert_eq!(net.count(A, INITIATION) + net.count(B, INITIATION), 0);
    }
}

#[test]
fn an_answer_is_as_good_as_a_keepalive() {
    let mut net = Net::joined(Case::V4);
    for id in 0..30 {
        let (forth, back) = (net.packet(A, B, 10, id), net.packet(B, A, 10, id));
        net.tun(A, &forth);
        net.run(seconds(1));
        net.tun(B, &back);
        net.run(seconds(1));
    }
    assert_eq!(net.log.iter().filter(|datagram| datagram.is_keepalive()).count(), 0);
}

#[test]
fn one_way_traffic_is_answered_every_ten_seconds() {
    let mut net = Net::joined(Case::V4);
    for id in 0..1000 {
        let packet = net.packet(A, B, 10, id);
        net.tun(A, &packet);
        net.run(millis(100));
    }
    let at = keepalives(&net, B);
    assert!((9..=10).contains(&at.len()), "{at:?}");
    for pair in at.windows(2) {
        assert!((10.0..10.2).contains(&(pair[1] - pair[0])), "{at:?}");
    }
    assert_eq!(net.count(A, INITIATION), 0);
}

#[test]
fn no_answer_for_fifteen_seconds_begins_a_new_handshake() {
    for case in Case::all() {
        for (node, peer) in [(A, B), (B, A)] {
            let mut net = Net::joined(case);
            net.run(seconds(20));
            net.take_log();
            net.link = Link::CUT;
            let begin = net.now;
            // More packets don't put it off.
            for id in 0..20 {
                let packet = net.packet(node, peer, 10, id);
                net.tun(node, &packet);
                net.run(seconds(1));
            }
            let begun: Vec<&Datagram> = net.log.iter().filter(|datagram| datagram.kind() == INITIATION).collect();
            assert!(!begun.is_empty(), "{case:?}, node {node}");
            let after = begun[0].at - begin;
            assert!((seconds(15)..=millis(15_333)).contains(&after), "{after:?}");
            // The keys are still good: packets don't wait.
            assert_eq!(net.count(node, DATA), 20);
        }
    }
}

/// The packets that a handshake let go ask for an answer as well as any others.
#[test]
fn what_waited_asks_for_an_answer_too() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let (forth, back) = (net.packet(A, B, 10, 1), net.packet(B, A, 10, 2));
        // B's own initiation is lost, so its packet waits for the session that A begins; then all of A's answers are lost.
        net.link = Link::CUT;
        net.tun(B, &back);
        net.run(seconds(1));
        net.link = Link::GOOD;
        net.tun(A, &forth);
        net.run(millis(35));
        net.link = Link::CUT;
        net.settle();
        assert_eq!((net.take(A), net.take(B)), (vec![back], vec![forth]));
        net.take_log();
        net.run(seconds(14));
        assert_eq!(net.count(B, INITIATION), 0);
        net.run(seconds(2));
        assert_eq!(net.count(B, INITIATION), 1, "{case:?}");
    }
}

fn keepalive(net: &mut Net, interval: Option<u16>) {
    net.change(A, B, |peer| peer.persistent_keepalive = interval);
}

#[test]
fn a_persistent_keepalive_begins_at_once_and_goes_on() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        keepalive(&mut net, Some(7));
        assert_eq!(net.count(A, INITIATION), 1, "nothing is waited for");
        net.settle();
        assert_eq!(keepalives(&net, A).len(), 1, "the first one confirms the keys");
        net.run(seconds(71));
        let at = keepalives(&net, A);
        assert_eq!(at.len(), 11, "{at:?}");
        for pair in at.windows(2) {
            assert!((pair[1] - pair[0] - 7.0).abs() < 0.001, "{at:?}");
        }
        assert_eq!(keepalives(&net, B), Vec::<f64>::new());

        // A shorter interval counts from now on; so does a longer one.
        for (interval, count) in [(2, 10), (9, 2)] {
            net.take_log();
            let begin = net.age(net.now);
            keepalive(&mut net, Some(interval));
            net.run(seconds(20) + millis(1));
            let at = keepalives(&net, A);
            assert_eq!(at.len(), count, "{at:?}");
            assert!((at[0] - begin - f64::from(interval)).abs() < 0.001, "{at:?}");
        }
        net.take_log();
        keepalive(&mut net, None);
        net.run(seconds(60));
        assert_eq!(net.log.len(), 0);
        keepalive(&mut net, Some(7));
        assert!(
            net.log[..].last().is_some_and(Datagram::is_keepalive),
            "switched on, it begins at once"
        );
    }
}

#[test]
fn traffic_puts_a_persistent_keepalive_off() {
    let mut net = Net::pair(Case::V4);
    keepalive(&mut net, Some(5));
    net.settle();
    net.take_log();
    for id in 0..30 {
        let packet = net.packet(B, A, 10, id);
        net.tun(B, &packet);
        net.run(seconds(1));
    }
    // Only what one-way traffic asks for; a packet of B's is no answer of A's.
    assert!(keepalives(&net, A).len() <= 3, "{:?}", keepalives(&net, A));
    net.take_log();
    net.run(seconds(50));
    assert!((9..=11).contains(&keepalives(&net, A).len()));
}

/// With a persistent keepalive keys are renewed for ever, and a peer that was away is found again.
#[test]
fn a_persistent_keepalive_outlives_the_peers_absence() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        keepalive(&mut net, Some(25));
        net.run(seconds(1000));
        assert_eq!((net.drops(A), net.drops(B)), (vec![], vec![]));
        assert!(net.peer_status(A, B).latest_handshake > Some(net.wall(seconds(0)) - seconds(180)));
        assert!((6..=9).contains(&net.count(A, INITIATION)), "{}", net.count(A, INITIATION));
        net.link = Link::CUT;
        net.run(seconds(1000));
        net.take_log();
        net.run(seconds(200));
        assert!(net.count(A, INITIATION) > 20, "it goes on trying");
        assert!(net.usage(A).indexes <= 1);
        net.link = Link::GOOD;
        net.run(seconds(6));
        let back = net.packet(B, A, 10, 1);
        net.tun(B, &back);
        net.settle();
        assert_eq!(net.take(A), [back]);
        assert_eq!(net.count(B, RESPONSE), 1);
    }
}

/// A keepalive to a peer whose address is unknown begins when it is told.
#[test]
fn a_persistent_keepalive_waits_for_an_address() {
    let mut net = Net::pair(Case::V4);
    let peer = net.as_peer(B);
    net.set(A, vec![]);
    let nowhere = fielato_wireguard::PeerConfig {
        endpoint: None,
        persistent_keepalive: Some(5),
        ..peer.clone()
    };
    net.apply(A, fielato_wireguard::PeerChange::Set(nowhere.clone()));
    net.run(seconds(20));
    assert!(net.log.is_empty());
    let somewhere = fielato_wireguard::PeerConfig {
        endpoint: peer.endpoint,
        ..nowhere
    };
    net.apply(A, fielato_wireguard::PeerChange::Set(somewhere));
    net.run(seconds(6));
    assert_eq!(keepalives(&net, A).len(), 1);
    assert_eq!(net.dropped(A, DropReason::NoEndpoint), 0);
}
