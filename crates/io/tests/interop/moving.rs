//! Roaming: source port and address change while a transfer runs.

use std::net::SocketAddr;

use crate::common::transfers::{Move, moved_transfer};
use crate::common::wait_for;
use crate::end::{End, Peer, outer, running};

pub fn we_move_in_the_middle_of_a_transfer(peer: Peer) {
    for v6 in [false, true] {
        let (a, b) = running(peer, v6);
        assert!(a.reaches_other() && b.reaches_other());
        moves(&a, &b, 1, v6);
    }
}

pub fn the_peer_moves_in_the_middle_of_a_transfer(peer: Peer) {
    for v6 in [false, true] {
        let (a, b) = running(peer, v6);
        assert!(a.reaches_other() && b.reaches_other());
        moves(&b, &a, 2, v6);
    }
}

/// `mover` takes another port and another address, `stays` learns both; a transfer each way survives it.
fn moves(mover: &End, stays: &End, host: u8, v6: bool) {
    eprintln!("outer IPv6: {v6}");
    let moved = |host: u8| {
        let mut at = outer(host, v6);
        at.set_port(51999);
        at
    };
    let seen = |at: SocketAddr| wait_for(&format!("{at}"), || stays.shown("endpoints") == at.to_string());
    let take_port = || {
        mover.namespace.run(&format!("wg set {} listen-port 51999", mover.interface));
    };
    let take_address = || {
        let net = |host: u8| match v6 {
            true => format!("fd09::{host}/64 dev v0"),
            false => format!("10.9.0.{host}/24 dev v0"),
        };
        let options = if v6 { " nodad" } else { "" };
        mover.namespace.run(&format!("ip addr add {}{options}", net(77)));
        mover.namespace.run(&format!("ip addr del {}", net(host)));
        // Where the first one was the primary of its network, the second went with it.
        mover.namespace.run(&format!("ip addr replace {}{options}", net(77)));
    };
    seen(outer(host, v6));
    let port = || {
        take_port();
        seen(moved(host));
    };
    let address = || {
        take_address();
        seen(moved(77));
    };
    let both = || {
        take_address();
        take_port();
        seen(moved(77));
    };
    let one_by_one: [Move<'_>; 2] = [&port, &address];
    let at_once: [Move<'_>; 1] = [&both];
    let steps: &[Move<'_>] = if mover.follows_its_addresses() {
        &one_by_one
    } else {
        &at_once
    };
    let to = |host: u8| {
        let text = if v6 {
            format!("fd08::{host}")
        } else {
            format!("10.8.0.{host}")
        };
        text.parse().unwrap()
    };
    moved_transfer(&mover.namespace, &stays.namespace, to(3 - host), steps);
    // And the other way, which tells that the new address is used.
    moved_transfer(&stays.namespace, &mover.namespace, to(host), &[]);
}
