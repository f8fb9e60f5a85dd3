//! What shows over time: keepalives, restarts, renewed sessions, long transfers.

use std::time::{Duration, Instant};

use crate::common::transfers::{large_transfer, transfer};
use crate::common::wait_for;
use crate::end::{End, PATIENCE, Peer, Settings, outer, pair, running};

/// Whether `make interop` runs this.
fn long() -> bool {
    std::env::var_os("FIELATO_INTEROP_LONG").is_some()
}

pub fn keepalives_without_traffic(peer: Peer) {
    for we_keep in [true, false] {
        let settings = |keeps: bool, other: u8| Settings {
            endpoint: keeps.then(|| outer(other, false)),
            keepalive: keeps.into(),
            ..Settings::default()
        };
        let (mut a, mut b) = pair(peer, settings(we_keep, 2), settings(!we_keep, 1));
        // Nothing but keepalives: no neighbour discovery, no multicast listener reports.
        for end in [&a, &b] {
            end.namespace.run("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1");
        }
        // Who is called must be there: a lost initiation is sent again after five seconds.
        let (listener, keeper) = if we_keep { (&mut b, &mut a) } else { (&mut a, &mut b) };
        listener.start();
        keeper.start();
        // What the listener received; where it does not tell, what we sent.
        let count = || match listener.tells_the_truth() {
            true => listener.counts().0,
            false => keeper.counts().1,
        };
        let teller = if listener.tells_the_truth() { &*listener } else { &*keeper };
        wait_for("a handshake without traffic", || teller.latest_handshake() > 0);
        // Three of 32 bytes, after what came with the handshake.
        let before = count();
        let begun = Instant::now();
        wait_for("three keepalives", || count() >= before + 3 * 32);
        // One a second and not a stream of them.
        assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
}

pub fn either_side_starts_again(peer: Peer) {
    let settings = |other: u8| Settings {
        endpoint: Some(outer(other, false)),
        ..Settings::default()
    };
    let (mut a, mut b) = pair(peer, settings(2), settings(1));
    b.start();
    a.start();
    assert!(a.reaches_other() && b.reaches_other());
    for ours in [true, false] {
        let (fresh, other) = if ours { (&mut a, &mut b) } else { (&mut b, &mut a) };
        fresh.stop();
        fresh.start();
        // Only the one that knows nothing of it sends: it hears nothing for KEEPALIVE_TIMEOUT and REKEY_TIMEOUT, fifteen
        // seconds (the paper's sections 6.2 and 6.5), and begins anew.
        recovers(other);
        fresh.stop();
        fresh.start();
        // The one that started again sends: at once.
        let begun = Instant::now();
        assert!(fresh.reaches_other());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}

fn recovers(end: &End) {
    let begun = Instant::now();
    let answered = || end.namespace.attempt(&format!("ping -c 1 -W 1 10.8.0.{}", end.other_host()));
    while !answered() {
        assert!(begun.elapsed() < PATIENCE, "no new session in {PATIENCE:?}");
    }
    eprintln!("a new session after {:.1} s", begun.elapsed().as_secs_f64());
}

/// With `make interop` also long use.
pub fn a_long_transfer(peer: Peer) {
    let (a, b) = running(peer, false);
    assert!(a.reaches_other());
    let bytes = large_transfer(long());
    transfer(&a.namespace, &b.namespace, "10.8.0.2".parse().unwrap(), bytes);
    transfer(&b.namespace, &a.namespace, "fd08::1".parse().unwrap(), bytes);
    if long() {
        sessions_are_renewed(&a, &b);
    }
}

/// A session is renewed after 120 seconds of use, and no echo is lost by it.
fn sessions_are_renewed(a: &End, b: &End) {
    let first = (a.latest_handshake(), b.latest_handshake());
    std::thread::scope(|scope| {
        let pings = [a, b].map(|end| {
            let command = format!("ping -q -i 0.2 -c 700 -W 2 10.8.0.{}", end.other_host());
            scope.spawn(move || end.namespace.run(&command))
        });
        for ping in pings {
            let told = ping.join().unwrap();
            assert!(told.contains(" 700 received"), "{told}");
        }
    });
    assert!(a.latest_handshake() >= first.0 + 100);
    assert!(b.latest_handshake() >= first.1 + 100 || !b.tells_the_truth());
}
