//! Roaming: source port and address change while a transfer runs.

use std::net::SocketAddr;

use crate::common::transfers::{Move, moved_transfer};
use crate::common::wait_for;
use crate::end::{End, PORT, Peer, running};

pub fn we_move_in_the_middle_of_a_transfer(peer: Peer) {
    let (a, b) = running(peer);
    assert!(a.reaches_other() && b.reaches_other());
    moves(&a, &b, 1);
}

pub fn the_peer_moves_in_the_middle_of_a_transfer(peer: Peer) {
    let (a, b) = running(peer);
    assert!(a.reaches_other() && b.reaches_other());
    moves(&b, &a, 2);
}

/// `mover` takes another port and another address, `stays` learns both; a transfer each way survives it.
fn moves(mover: &End, stays: &End, host: u8) {
    let seen = |at: SocketAddr| wait_for(&format!("{at}"), || stays.shown("endpoints") == at.to_string());
    let take_port = || {
        mover.namespace.run(&format!("wg set {} listen-port 51999", mover.interface));
    };
    let take_address = || {
        mover.namespace.run("ip addr add 10.9.0.77/24 dev v0");
        mover.namespace.run(&format!("ip addr del 10.9.0.{host}/24 dev v0"));
        // Where the first one was the primary of its network, the second went with it.
        mover.namespace.run("ip addr replace 10.9.0.77/24 dev v0");
    };
    seen(SocketAddr::from(([10, 9, 0, host], PORT)));
    let port = || {
        take_port();
        seen(SocketAddr::from(([10, 9, 0, host], 51999)));
    };
    let address = || {
        take_address();
        seen(SocketAddr::from(([10, 9, 0, 77], 51999)));
    };
    let both = || {
        take_address();
        take_port();
        seen(SocketAddr::from(([10, 9, 0, 77], 51999)));
    };
    let one_by_one: [Move<'_>; 2] = [&port, &address];
    let at_once: [Move<'_>; 1] = [&both];
    let steps: &[Move<'_>] = if mover.follows_its_addresses() {
        &one_by_one
    } else {
        &at_once
    };
    let to = |host: u8| format!("10.8.0.{host}").parse().unwrap();
    moved_transfer(&mover.namespace, &stays.namespace, to(3 - host), steps);
    // And the other way, which tells that the new address is used.
    moved_transfer(&stays.namespace, &mover.namespace, to(host), &[]);
}
