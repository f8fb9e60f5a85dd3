//! Our handshake, sessions and cookies against another implementation of the protocol, in one process.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use crate::aead::Ring;
use crate::cookie::{Checker, Macs};
use crate::drops::DropReason;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::message::{DATA_HEADER, DATA_OVERHEAD, INITIATION, Message};
use crate::noise::{Claim, Initiator, StaticKeys, create_initiation, static_static};
use crate::random::Random;
use crate::session::Session;
use crate::tai64n::Tai64n;

const FROM: &str = "192.0.2.1:51820";

/// We, as far as one peer is concerned, and the other implementation.
struct Pair {
    keys: StaticKeys,
    peer: PublicKey,
    shared: [u8; 32],
    psk: Option<PresharedKey>,
    macs: Macs,
    checker: Checker,
    random: Random,
    now: Instant,
    stamp: Tai64n,
    theirs: Tunn,
}

impl Pair {
    /// `limit`: how many handshake messages a second the other side takes without a cookie.
    fn new(seed: u8, psk: bool, limit: u64) -> Self {
        let mut random = Random::new([seed; 32]);
        let keys = StaticKeys::new(&PrivateKey(random.bytes()));
        let their_secret = StaticSecret::from(random.bytes::<32>());
        let peer = PublicKey(Point::from(&their_secret).to_bytes());
        let psk = psk.then(|| PresharedKey(random.bytes()));
        let limiter = RateLimiter::new(&Point::from(peer.0), limit);
        Self {
            theirs: Tunn::new(
                their_secret,
                Point::from(keys.public().0),
                psk.as_ref().map(|psk| psk.0),
                None,
                0x00ab_cdef,
                Some(Arc::new(limiter)),
            ),
            shared: static_static(&keys, &peer).unwrap(),
            macs: Macs::new(&peer),
            checker: Checker::new(keys.public()),
            now: Instant::now(),
            stamp: Tai64n::ZERO,
            keys,
            peer,
            psk,
            random,
        }
    }

    /// What the other side answers to a datagram of ours: a datagram, or the packet in it.
    fn give(&mut self, datagram: &[u8]) -> Result<Vec<u8>, String> {
        let mut answer = vec![0; 2_000];
        let from: SocketAddr = FROM.parse().unwrap();
        match self.theirs.decapsulate(Some(from.ip()), datagram, &mut answer) {
            TunnResult::WriteToNetwork(message) => Ok(message.to_vec()),
            TunnResult::WriteToTunnelV4(packet, _) => Ok(packet.to_vec()),
            TunnResult::WriteToTunnelV6(packet, _) => Ok(packet.to_vec()),
            TunnResult::Done => Ok(Vec::new()),
            TunnResult::Err(error) => Err(format!("{error:?}")),
        }
    }

    fn initiate(&mut self) -> ([u8; INITIATION], Initiator) {
        self.stamp = Tai64n::strictly_after(self.stamp, SystemTime::now());
        let local = self.random.u32();
        let (mut message, initiator) =
            create_initiation(&self.keys, &self.peer, &self.shared, self.stamp, local, &mut self.random).unwrap();
        self.macs.sign(&mut message, self.now);
        (message, initiator)
    }

    fn finish(&self, initiator: &Initiator, response: &[u8]) -> Session {
        assert!(self.checker.mac1_is_valid(response));
        let Ok(Message::Response(response)) = Message::parse(response) else {
            panic!("no response: {response:?}");
        };
        let keys = initiator.finish(&self.keys, self.psk.as_ref(), response).unwrap();
        Session::new(keys, self.now)
    }

    /// Their initiation answered by us; the session, and the first message that they send with it.
    fn answer(&mut self, initiation: &[u8]) -> (Session, Vec<u8>) {
        assert!(self.checker.mac1_is_valid(initiation));
        let Ok(Message::Initiation(initiation)) = Message::parse(initiation) else {
            panic!("no initiation: {initiation:?}");
        };
        let claim = Claim::read(&self.keys, initiation).unwrap();
        assert_eq!(claim.peer, self.peer);
        let verified = claim.verify(&self.shared).unwrap();
        // Their clock reads TAI less exactly than ours; a minute is far more than the difference.
        let ours = |ahead| Tai64n::new(SystemTime::now() + Duration::from_secs(ahead));
        assert!(verified.timestamp < ours(60));
        let (mut response, keys) = verified.respond(self.psk.as_ref(), 0x0102_0304, &mut self.random).unwrap();
        self.macs.sign(&mut response, self.now);
        let first = self.give(&response).unwrap();
        (Session::new(keys, self.now), first)
    }

    fn their_initiation(&mut self) -> Vec<u8> {
        let mut message = [0; 200];
        match self.theirs.format_handshake_initiation(&mut message, true) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("no initiation: {other:?}"),
        }
    }

    /// IPv4 and IPv6 packets of several sizes in both directions, and refusals of what was seen.
    fn talk(&mut self, session: &mut Session) {
        for len in [40, 41, 63, 64, 576, 1_420] {
            for version in [4, 6] {
                let packet = ip_packet(version, len);
                let mut message = vec![0; len + DATA_OVERHEAD];
                message[DATA_HEADER..][..len].copy_from_slice(&packet);
                session.seal(&mut Ring, &mut message, len).unwrap();
                assert_eq!(self.give(&message).unwrap(), packet);
                assert_eq!(self.give(&message), Err("DuplicateCounter".to_owned()));

                let mut message = vec![0; 2_000];
                let TunnResult::WriteToNetwork(sealed) = self.theirs.encapsulate(&packet, &mut message) else {
                    panic!("the other side has no session");
                };
                let mut again = sealed.to_vec();
                let range = session.open(&mut Ring, sealed).unwrap();
                assert_eq!(sealed[range], packet);
                assert_eq!(session.open(&mut Ring, &mut again), Err(DropReason::Replayed));
            }
        }
    }
}

/// A packet that the other side takes for one: version, lengths and addresses are right.
fn ip_packet(version: u8, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| at as u8).collect();
    packet[0] = version << 4 | 5;
    let len = len as u16;
    match version {
        4 => packet[2..4].copy_from_slice(&len.to_be_bytes()),
        _ => packet[4..6].copy_from_slice(&(len - 40).to_be_bytes()),
    }
    packet
}

#[test]
fn we_begin() {
    for psk in [false, true] {
        let mut pair = Pair::new(1, psk, 100);
        let (initiation, initiator) = pair.initiate();
        let response = pair.give(&initiation).unwrap();
        let mut session = pair.finish(&initiator, &response);
        assert!(session.is_initiator());
        pair.talk(&mut session);
        // The same initiation again is not newer than itself.
        assert_eq!(pair.give(&initiation), Err("WrongTai64nTimestamp".to_owned()));
        // A second handshake at once: our stamps never repeat.
        let (initiation, initiator) = pair.initiate();
        let response = pair.give(&initiation).unwrap();
        let mut session = pair.finish(&initiator, &response);
        pair.talk(&mut session);
    }
}

#[test]
fn they_begin() {
    for psk in [false, true] {
        let mut pair = Pair::new(2, psk, 100);
        let initiation = pair.their_initiation();
        let (mut session, mut first) = pair.answer(&initiation);
        assert!(!session.is_initiator());
        // The initiator confirms with an empty message.
        assert_eq!(session.open(&mut Ring, &mut first), Ok(16..16));
        pair.talk(&mut session);
    }
}

#[test]
fn a_different_preshared_key_is_refused() {
    let mut pair = Pair::new(3, true, 100);
    pair.psk = None;
    let (initiation, initiator) = pair.initiate();
    let response = pair.give(&initiation).unwrap();
    let Ok(Message::Response(response)) = Message::parse(&response) else {
        panic!("no response");
    };
    let finished = initiator.finish(&pair.keys, None, response);
    assert_eq!(finished.err(), Some(DropReason::NotAuthentic));
}

#[test]
fn their_cookie_makes_our_next_initiation_pass() {
    let mut pair = Pair::new(4, false, 0);
    let (initiation, _) = pair.initiate();
    let reply = pair.give(&initiation).unwrap();
    let Ok(Message::CookieReply(reply)) = Message::parse(&reply) else {
        panic!("no cookie: {reply:?}");
    };
    assert_eq!(
        Message::CookieReply(reply).receiver(),
        Message::parse(&initiation).unwrap().sender()
    );
    pair.macs.read_reply(reply, pair.now).unwrap();
    let (initiation, initiator) = pair.initiate();
    let response = pair.give(&initiation).unwrap();
    let mut session = pair.finish(&initiator, &response);
    pair.talk(&mut session);
}

#[test]
fn our_cookie_makes_their_next_initiation_pass() {
    let mut pair = Pair::new(5, false, 100);
    let from: SocketAddr = FROM.parse().unwrap();
    let initiation = pair.their_initiation();
    assert!(!pair.checker.mac2_is_valid(&initiation, from, pair.now));
    let reply = pair.checker.reply(&initiation, from, pair.now, &mut pair.random);
    assert_eq!(pair.give(&reply), Ok(Vec::new()));
    let initiation = pair.their_initiation();
    assert!(pair.checker.mac1_is_valid(&initiation));
    assert!(pair.checker.mac2_is_valid(&initiation, from, pair.now));
    let elsewhere = SocketAddr::new(IpAddr::from([192, 0, 2, 2]), from.port());
    assert!(!pair.checker.mac2_is_valid(&initiation, elsewhere, pair.now));
    let (mut session, mut first) = pair.answer(&initiation);
    assert_eq!(session.open(&mut Ring, &mut first), Ok(16..16));
    pair.talk(&mut session);
}
