//! Floods of forged initiations, and the cookies against them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use fielato_wireguard::{DropReason, PublicKey};

use crate::net::{A, B, COOKIE, Case, INITIATION, Link, Net, RESPONSE, millis, seconds};

/// Writes the mac1 of a handshake message to the owner of `key`, which needs no more than the key.
pub fn sign(message: &mut [u8], key: &PublicKey) {
    let mac1_key = Blake2s256::new().chain_update(b"mac1----").chain_update(key.0).finalize();
    let at = message.len() - 32;
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&mac1_key).unwrap();
    mac.update(&message[..at]);
    message[at..at + 16].copy_from_slice(&mac.finalize().into_bytes());
}

/// Initiations of nobody, with a good mac1.
fn forged(net: &mut Net, count: usize, key: &PublicKey) -> Vec<Vec<u8>> {
    let mut forge = || {
        let mut message = vec![0; 148];
        net.random.fill(&mut message);
        message[..4].copy_from_slice(&[1, 0, 0, 0]);
        message[132..].fill(0);
        sign(&mut message, key);
        message
    };
    (0..count).map(|_| forge()).collect()
}

#[derive(Debug, Clone, Copy)]
enum Sources {
    One,
    Spoofed,
}

/// 100,000 initiations a second at B, for a time.
struct Flood {
    messages: Vec<Vec<u8>>,
    sources: Sources,
    sent: usize,
}

impl Flood {
    const INTERVAL: Duration = Duration::from_micros(10);

    fn new(net: &mut Net, sources: Sources) -> Self {
        let key = net.nodes[B].key.public_key();
        Self {
            messages: forged(net, 500, &key),
            sources,
            sent: 0,
        }
    }

    fn source(&self, net: &mut Net) -> SocketAddr {
        let port = net.random.u16(1..);
        match (self.sources, net.case.v6) {
            (Sources::One, _) => net.elsewhere(),
            (Sources::Spoofed, false) => SocketAddr::new(Ipv4Addr::from(net.random.u32(..)).into(), port),
            (Sources::Spoofed, true) => SocketAddr::new(IpAddr::V6(Ipv6Addr::from(net.random.u128(..) | 1 << 125)), port),
        }
    }

    /// Goes on until `done`, at most for so many milliseconds; how many it took.
    fn run(&mut self, net: &mut Net, most: u64, mut done: impl FnMut(&mut Net) -> bool) -> Option<u64> {
        for millisecond in 0..most {
            let end = net.now + millis(1);
            while net.now < end {
                let source = self.source(net);
                let message = &self.messages[self.sent % self.messages.len()];
                self.sent += 1;
                net.udp(B, source, message);
                net.run(Self::INTERVAL);
            }
            if done(net) {
                return Some(millisecond);
            }
        }
        None
    }
}

/// A begins a handshake while B is flooded: how many tries it takes until its packet arrives. `None` when it does not arrive
/// soon after the second.
fn tries(net: &mut Net, flood: &mut Flood, packet: &[u8]) -> Option<usize> {
    flood.run(net, 50, |_| false);
    net.tun(A, packet);
    let arrived = |net: &mut Net| net.take(B) == [packet];
    let mut done = flood.run(net, 50, arrived);
    if done.is_none() {
        // The flood pauses while nothing is expected, and is at its height again when the second try arrives.
        while net.count(A, INITIATION) == 1 {
            net.run(millis(1));
        }
        done = flood.run(net, 50, arrived);
    }
    done.map(|_| net.count(A, INITIATION))
}

/// All of the flood was refused, nearly all of it before it cost much, and nothing is left of it.
fn assert_refused(net: &mut Net, flood: &Flood) {
    let refused: u64 = net.drops(B).into_iter().map(|(_, count)| count).sum();
    let answered = net.count(B, RESPONSE);
    assert_eq!(refused as usize, flood.sent + net.count(A, INITIATION) - answered);
    let passed = net.dropped(B, DropReason::NotAuthentic);
    assert!(passed <= 2 * (500 + 200), "{passed} reached the curve");
    assert_eq!(net.usage(B).tunnels, 1);
}

#[test]
fn a_peer_gets_in_during_a_flood_from_one_address() {
    for v6 in [false, true] {
        let mut net = Net::pair(Case { v6, psk: v6 });
        let mut flood = Flood::new(&mut net, Sources::One);
        let packet = net.packet(A, B, 10, 1);
        assert_eq!(tries(&mut net, &mut flood, &packet), Some(1));
        assert_refused(&mut net, &flood);
    }
}

/// Forged messages without a good mac1 cost nothing and change nothing.
#[test]
fn a_flood_without_mac1_is_not_even_load() {
    let mut net = Net::pair(Case::V4);
    let mut flood = Flood::new(&mut net, Sources::Spoofed);
    flood.messages.iter_mut().for_each(|message| message[120] ^= 1);
    let packet = net.packet(A, B, 10, 1);
    flood.run(&mut net, 50, |_| false);
    net.tun(A, &packet);
    let took = flood.run(&mut net, 100, |net| net.take(B).len() == 1);
    assert_eq!(took, Some(29), "three times the link's delay");
    assert_eq!(net.drops(B), [(DropReason::BadMac, flood.sent as u64)]);
    assert_eq!(net.count(B, COOKIE), 0);
}

/// A flood from many addresses: a peer's message is answered by a cookie; the next one, five seconds later, carries mac2
/// and passes.
#[test]
fn a_cookie_opens_the_door() {
    for case in [Case { v6: false, psk: true }, Case { v6: true, psk: false }] {
        let mut net = Net::pair(case);
        let mut flood = Flood::new(&mut net, Sources::Spoofed);
        let packet = net.packet(A, B, 10, 1);
        assert_eq!(tries(&mut net, &mut flood, &packet), Some(2));
        assert_refused(&mut net, &flood);
        let home = net.nodes[A].address;
        let log = net.take_log();
        let mut cookies = log.iter().filter(|datagram| datagram.kind() == COOKIE && datagram.to == home);
        let cookie = cookies.next().unwrap().bytes.clone();
        assert_eq!((cookies.count(), cookie.len()), (0, 64), "{case:?}");
        let tries = log
            .iter()
            .filter(|datagram| datagram.from == home && datagram.kind() == INITIATION);
        let mac2: Vec<bool> = tries.map(|datagram| datagram.bytes[132..] != [0; 16]).collect();
        assert_eq!(mac2, [false, true], "the second carries mac2");
        assert_eq!(net.drops(A), []);

        // A cookie that nobody asked for, and from elsewhere, changes nothing.
        let (endpoint, from) = (net.endpoint(A, B), net.elsewhere());
        net.udp(A, from, &cookie);
        let drops = net.drops(A);
        assert!(
            matches!(drops[..], [(DropReason::UnknownIndex | DropReason::Unexpected, 1)]),
            "{drops:?}"
        );
        assert_eq!(net.endpoint(A, B), endpoint);
    }
}

/// The calm returns a second after the last message too many.
#[test]
fn after_a_flood_no_cookie_is_needed() {
    let mut net = Net::pair(Case::V4);
    let mut flood = Flood::new(&mut net, Sources::Spoofed);
    flood.run(&mut net, 100, |_| false);
    net.run(seconds(2));
    net.take_log();
    let packet = net.packet(A, B, 10, 1);
    net.tun(A, &packet);
    net.settle();
    assert_eq!((net.take(B).len(), net.count(B, COOKIE)), (1, 0));
}

/// Under a flood, sessions that stand are not touched.
#[test]
fn a_session_passes_a_flood() {
    let mut net = Net::joined(Case::V4);
    let mut flood = Flood::new(&mut net, Sources::Spoofed);
    for id in 0..20 {
        let packet = net.packet(A, B, 10, id);
        net.tun(A, &packet);
        flood.run(&mut net, 12, |_| false);
        assert_eq!(net.take(B), [packet]);
    }
}

/// One peer's own initiations are looked at 50 times a second, no more (`INITIATIONS_PER_SECOND`).
#[test]
fn a_peers_initiations_are_limited() {
    let mut net = Net::pair(Case::V4);
    net.link = Link::CUT;
    let packet = net.packet(A, B, 10, 1);
    let mut initiations = vec![];
    for _ in 0..3 {
        net.tun(A, &packet);
        initiations.push(net.take_log().remove(0).bytes);
        net.run(seconds(5));
        net.take_log();
        let peer = net.as_peer(B);
        net.set(A, vec![]);
        net.set(A, vec![peer]);
    }
    let from = net.nodes[A].address;
    net.udp(B, from, &initiations[0]);
    net.udp(B, from, &initiations[1]);
    assert_eq!(net.drops(B), [(DropReason::RateLimited, 1)]);
    net.run(millis(20));
    net.udp(B, from, &initiations[1]);
    assert_eq!(net.count(B, RESPONSE), 2, "what was refused is no replay");
    net.run(millis(20));
    net.udp(B, from, &initiations[2]);
    assert_eq!(net.count(B, RESPONSE), 3);
}
