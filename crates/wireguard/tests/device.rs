//! Devices joined by nothing but their outboxes: no socket, no interface.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use fielato_wireguard::device::PADDING_ROOM;
use fielato_wireguard::uapi::{self, Request};
use fielato_wireguard::{
    Destination, Device, DeviceConfig, DropReason, Outbox, Path, PeerChange, PeerConfig, PresharedKey, PrivateKey,
};

const MTU: usize = 1420;

/// A device with an address of its own.
struct Node {
    device: Device,
    key: PrivateKey,
    address: SocketAddr,
}

/// What left a device.
#[derive(Default)]
struct Sent {
    network: Vec<(SocketAddr, Vec<u8>)>,
    interface: Vec<Vec<u8>>,
}

fn collect(out: &Outbox) -> Sent {
    let mut sent = Sent::default();
    for (destination, bytes) in out.iter() {
        match destination {
            Destination::Network(path) => sent.network.push((path.remote, bytes.to_vec())),
            Destination::Interface => sent.interface.push(bytes.to_vec()),
        }
    }
    sent
}

impl Node {
    fn new(address: &str) -> Self {
        let key = PrivateKey::generate().unwrap();
        let mut node = Self {
            device: Device::new(MTU),
            key,
            address: address.parse().unwrap(),
        };
        node.set(vec![]);
        node
    }

    fn set(&mut self, peers: Vec<PeerConfig>) -> Sent {
        let config = DeviceConfig {
            private_key: self.key.clone(),
            listen_port: self.address.port(),
            fwmark: 0,
            peers,
        };
        let mut out = Outbox::new();
        self.device.set(&config, Instant::now(), &mut out);
        collect(&out)
    }

    fn apply(&mut self, change: PeerChange) -> Sent {
        let mut out = Outbox::new();
        self.device.apply(&[change], Instant::now(), &mut out);
        collect(&out)
    }

    fn as_peer(&self, allowed: &[&str]) -> PeerConfig {
        PeerConfig {
            public_key: self.key.public_key(),
            preshared_key: None,
            endpoint: Some(self.address),
            persistent_keepalive: None,
            allowed_ips: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    fn udp(&mut self, from: SocketAddr, datagram: &[u8]) -> Sent {
        let mut out = Outbox::new();
        self.device.handle_udp(datagram, Path::from(from), Instant::now(), &mut out);
        collect(&out)
    }

    fn tun(&mut self, packet: &[u8]) -> Sent {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + PADDING_ROOM, 0xff);
        let mut out = Outbox::new();
        self.device.handle_tun(&mut buffer, packet.len(), Instant::now(), &mut out);
        collect(&out)
    }

    fn timers(&mut self, now: Instant) -> Sent {
        let mut out = Outbox::new();
        self.device.poll_timers(now, &mut out);
        collect(&out)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.device.drops().get(reason)
    }

    fn endpoint(&self, peer: &PrivateKey) -> Option<SocketAddr> {
        let status = self.device.status(Instant::now(), SystemTime::now());
        status
            .peers
            .iter()
            .find(|status| status.public_key == peer.public_key())
            .unwrap()
            .endpoint
    }
}

/// Carries datagrams between two nodes until none is left; returns what came out at each interface.
fn exchange(a: &mut Node, b: &mut Node, from_a: Sent) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut at_a, mut at_b) = (vec![], vec![]);
    let mut from_a = from_a.network;
    while !from_a.is_empty() {
        let mut from_b = vec![];
        for (_, datagram) in from_a.drain(..) {
            let sent = b.udp(a.address, &datagram);
            at_b.extend(sent.interface);
            from_b.extend(sent.network);
        }
        for (_, datagram) in from_b {
            let sent = a.udp(b.address, &datagram);
            at_a.extend(sent.interface);
            from_a.extend(sent.network);
        }
    }
    (at_a, at_b)
}

/// A packet with nothing right but what the device reads: version, length, addresses.
fn packet(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0; 20 + payload];
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; 40 + payload];
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
            packet
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new("192.0.2.1:1001"), Node::new("192.0.2.2:1002"));
    let (a_peer, b_peer) = (
        a.as_peer(&["10.0.0.1/32", "fd00::1/128"]),
        b.as_peer(&["10.0.0.2/32", "fd00::2/128"]),
    );
    a.set(vec![b_peer]);
    b.set(vec![a_peer]);
    (a, b)
}

/// A pair with a session.
fn joined() -> (Node, Node) {
    let (mut a, mut b) = pair();
    let first = packet("10.0.0.1", "10.0.0.2", 0);
    let sent = a.tun(&first);
    assert_eq!(exchange(&mut a, &mut b, sent), (vec![], vec![first]));
    (a, b)
}

#[test]
fn packets_that_wait_for_the_handshake_arrive_in_order() {
    let (mut a, mut b) = pair();
    let packets = [
        packet("10.0.0.1", "10.0.0.2", 1),
        packet("fd00::1", "fd00::2", 2),
        packet("10.0.0.1", "10.0.0.2", 3),
    ];
    let mut sent: Vec<Sent> = packets.iter().map(|packet| a.tun(packet)).collect();
    assert!(
        sent[1].network.is_empty() && sent[2].network.is_empty(),
        "one handshake is enough"
    );
    let (_, at_b) = exchange(&mut a, &mut b, sent.remove(0));
    assert_eq!(at_b, packets);
    let back = packet("fd00::2", "fd00::1", 9);
    let sent = b.tun(&back);
    assert_eq!(exchange(&mut b, &mut a, sent).1, [back]);
}

#[test]
fn packets_are_padded_to_16_and_not_beyond_the_mtu() {
    let (mut a, _) = joined();
    for (len, padded) in [(40, 48), (48, 48), (1400, 1408), (1416, 1420), (1420, 1420), (1421, 1421)] {
        let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", len - 20));
        assert_eq!(sent.network[0].1.len(), padded + 32, "packet of {len} bytes");
    }
}

#[test]
fn preshared_keys_must_agree() {
    let psk = PresharedKey::generate().unwrap();
    for (at_a, at_b, works) in [(true, true, true), (true, false, false), (false, true, false)] {
        let (mut a, mut b) = pair();
        let with = |mut peer: PeerConfig, on: bool| {
            peer.preshared_key = on.then(|| psk.clone());
            PeerChange::Set(peer)
        };
        let (a_peer, b_peer) = (a.as_peer(&["10.0.0.1/32"]), b.as_peer(&["10.0.0.2/32"]));
        a.apply(with(b_peer, at_a));
        b.apply(with(a_peer, at_b));
        let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
        let (_, at_b) = exchange(&mut a, &mut b, sent);
        assert_eq!(at_b.len(), usize::from(works));
        assert_eq!(a.dropped(DropReason::NotAuthentic), u64::from(!works));
    }
}

#[test]
fn a_new_preshared_key_takes_effect_at_once() {
    let (mut a, mut b) = joined();
    let psk = PresharedKey::generate().unwrap();
    let (mut a_peer, mut b_peer) = (a.as_peer(&["10.0.0.1/32"]), b.as_peer(&["10.0.0.2/32"]));
    a_peer.preshared_key = Some(psk.clone());
    b_peer.preshared_key = Some(psk);
    a.apply(PeerChange::Set(b_peer));
    b.apply(PeerChange::Set(a_peer));
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 5));
    assert_eq!(sent.network[0].1.len(), 148, "a new handshake");
    assert_eq!(exchange(&mut a, &mut b, sent).1.len(), 1);
}

#[test]
fn a_forged_inner_source_is_dropped_and_counted() {
    let (mut a, mut b) = joined();
    for source in ["10.0.0.3", "10.0.0.2"] {
        let sent = a.tun(&packet(source, "10.0.0.2", 0));
        assert_eq!(exchange(&mut a, &mut b, sent).1, Vec::<Vec<u8>>::new());
    }
    let sent = a.tun(&packet("fd00::9", "fd00::2", 0));
    exchange(&mut a, &mut b, sent);
    assert_eq!(b.dropped(DropReason::SourceNotAllowed), 3);
}

#[test]
fn replays_and_garbage_are_dropped_and_counted() {
    let (mut a, mut b) = joined();
    let data = a.tun(&packet("10.0.0.1", "10.0.0.2", 0)).network.remove(0).1;
    assert_eq!(b.udp(a.address, &data).interface.len(), 1);
    assert_eq!(b.udp(a.address, &data).interface.len(), 0);
    assert_eq!(b.dropped(DropReason::Replayed), 1);

    let mut damaged = a.tun(&packet("10.0.0.1", "10.0.0.2", 0)).network.remove(0).1;
    *damaged.last_mut().unwrap() ^= 1;
    b.udp(a.address, &damaged);
    assert_eq!(b.dropped(DropReason::NotAuthentic), 1);

    for garbage in [&b""[..], b"x", &[0; 148], &[5; 92], &[1; 148], &[4, 0, 0, 0, 0, 0]] {
        assert!(b.udp(a.address, garbage).network.is_empty());
    }
    assert_eq!(b.dropped(DropReason::Malformed), 6);

    let mut handshake = [0; 148];
    handshake[0] = 1;
    b.udp(a.address, &handshake);
    assert_eq!(b.dropped(DropReason::BadMac), 1);

    let mut elsewhere = data.clone();
    elsewhere[4..8].copy_from_slice(&0xffff_ff00_u32.to_le_bytes());
    b.udp(a.address, &elsewhere);
    assert_eq!(b.dropped(DropReason::UnknownIndex), 1);

    // The last counter numbers are never valid (paper, section 6.4, Reject-After-Messages).
    let mut last = data;
    last[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    b.udp(a.address, &last);
    assert_eq!(b.dropped(DropReason::Replayed), 2);
}

#[test]
fn only_authentic_messages_move_a_peer() {
    let (mut a, mut b) = joined();
    let elsewhere: SocketAddr = "198.51.100.7:7".parse().unwrap();
    let mut data = a.tun(&packet("10.0.0.1", "10.0.0.2", 0)).network.remove(0).1;
    let good = data.clone();
    data[20] ^= 1;
    b.udp(elsewhere, &data);
    assert_eq!(b.endpoint(&a.key), Some(a.address));
    assert_eq!(b.udp(elsewhere, &good).interface.len(), 1);
    assert_eq!(b.endpoint(&a.key), Some(elsewhere));
    assert_eq!(b.tun(&packet("10.0.0.2", "10.0.0.1", 0)).network[0].0, elsewhere);
}

#[test]
fn a_replayed_initiation_neither_moves_a_peer_nor_is_answered() {
    let (mut a, mut b) = pair();
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
    let initiation = sent.network[0].1.clone();
    exchange(&mut a, &mut b, sent);
    let elsewhere: SocketAddr = "198.51.100.7:7".parse().unwrap();
    assert!(b.udp(elsewhere, &initiation).network.is_empty());
    assert_eq!(b.dropped(DropReason::ReplayedHandshake), 1);
    assert_eq!(b.endpoint(&a.key), Some(a.address));
}

#[test]
fn strangers_are_not_answered() {
    let (_, mut b) = pair();
    let mut stranger = Node::new("192.0.2.9:9");
    stranger.set(vec![b.as_peer(&["10.0.0.2/32"])]);
    let initiation = stranger.tun(&packet("10.0.0.9", "10.0.0.2", 0)).network.remove(0).1;
    assert!(b.udp(stranger.address, &initiation).network.is_empty());
    assert_eq!(b.dropped(DropReason::UnknownPeer), 1);
}

#[test]
fn an_allowed_ip_moves_to_the_peer_that_is_given_it() {
    let (mut a, b) = joined();
    let c = Node::new("192.0.2.3:1003");
    a.apply(PeerChange::Set(c.as_peer(&["10.0.0.2/32"])));
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
    assert_eq!((sent.network[0].0, sent.network[0].1.len()), (c.address, 148));
    let status = a.device.status(Instant::now(), SystemTime::now());
    let allowed = |node: &Node| {
        let peer = status.peers.iter().find(|peer| peer.public_key == node.key.public_key());
        peer.unwrap().allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(allowed(&b), ["fd00::2/128"]);
    assert_eq!(allowed(&c), ["10.0.0.2/32"]);
}

#[test]
fn a_change_to_one_peer_leaves_the_other_sessions_alone() {
    let (mut a, mut b) = joined();
    let c = Node::new("192.0.2.3:1003");
    a.apply(PeerChange::Set(c.as_peer(&["10.0.0.3/32"])));
    a.apply(PeerChange::Remove(c.key.public_key()));
    let peer = b.as_peer(&["10.0.0.2/32", "10.0.0.4/32"]);
    a.apply(PeerChange::Set(peer.clone()));
    a.set(vec![peer, c.as_peer(&["10.0.0.3/32"])]);
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.4", 0));
    assert_eq!(sent.network[0].1[0], 4, "data under the old session");
    assert_eq!(exchange(&mut a, &mut b, sent).1.len(), 1);
}

#[test]
fn a_new_private_key_ends_all_sessions() {
    let (mut a, mut b) = joined();
    let peer = b.as_peer(&["10.0.0.2/32"]);
    a.key = PrivateKey::generate().unwrap();
    a.set(vec![peer]);
    let a_peer = a.as_peer(&["10.0.0.1/32"]);
    b.set(vec![a_peer]);
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
    assert_eq!(sent.network[0].1.len(), 148);
    assert_eq!(exchange(&mut a, &mut b, sent).1.len(), 1);
}

#[test]
fn what_has_no_way_out_is_counted() {
    let (mut a, b) = pair();
    a.tun(&packet("10.0.0.1", "10.99.0.1", 0));
    assert_eq!(a.dropped(DropReason::NoPeerForDestination), 1);
    a.tun(b"\x00not a packet");
    a.tun(b"\x45short");
    assert_eq!(a.dropped(DropReason::OutgoingMalformed), 2);
    let mut nowhere = Node::new("192.0.2.9:9").as_peer(&["10.0.0.9/32"]);
    nowhere.endpoint = None;
    a.apply(PeerChange::Set(nowhere));
    a.tun(&packet("10.0.0.1", "10.0.0.9", 0));
    assert_eq!(a.dropped(DropReason::NoEndpoint), 1);
    for _ in 0..200 {
        a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
    }
    assert_eq!(a.dropped(DropReason::QueueFull), 200 - 128);
    a.apply(PeerChange::Remove(b.key.public_key()));
    let mut keyless = Device::new(MTU);
    keyless.handle_udp(&[0; 148], Path::from(b.address), Instant::now(), &mut Outbox::new());
    assert_eq!(keyless.drops().get(DropReason::NoPrivateKey), 1);
}

#[test]
fn a_persistent_keepalive_begins_at_once_and_goes_on() {
    let (mut a, mut b) = pair();
    let mut peer = b.as_peer(&["10.0.0.2/32"]);
    peer.persistent_keepalive = Some(7);
    let sent = a.apply(PeerChange::Set(peer.clone()));
    assert_eq!(sent.network[0].1.len(), 148);
    exchange(&mut a, &mut b, sent);
    let now = Instant::now();
    assert!(a.timers(now + Duration::from_secs(6)).network.is_empty());
    let sent = a.timers(now + Duration::from_secs(8));
    assert_eq!(sent.network[0].1.len(), 32, "an empty data message");
    assert!(a.timers(now + Duration::from_secs(9)).network.is_empty());
    assert_eq!(a.timers(now + Duration::from_secs(16)).network.len(), 1);
    peer.persistent_keepalive = None;
    a.apply(PeerChange::Set(peer));
    assert!(a.timers(now + Duration::from_secs(60)).network.is_empty());
}

/// A flood of initiations with a good mac1: most are answered by a cookie, and an honest peer gets through with it.
#[test]
fn an_honest_peer_gets_through_a_flood() {
    let (mut a, mut b) = pair();
    let mut strangers: Vec<Node> = (0..400).map(|_| Node::new("203.0.113.1:1")).collect();
    let flood: Vec<Vec<u8>> = strangers
        .iter_mut()
        .map(|stranger| {
            stranger.set(vec![b.as_peer(&["10.0.0.2/32"])]);
            stranger.tun(&packet("10.0.0.1", "10.0.0.2", 0)).network.remove(0).1
        })
        .collect();
    let attack = |b: &mut Node| {
        for initiation in &flood {
            b.udp("203.0.113.1:1".parse().unwrap(), initiation);
        }
    };
    attack(&mut b);
    assert!(b.dropped(DropReason::UnderLoad) >= 200, "cookies under load");
    let first = a.tun(&packet("10.0.0.1", "10.0.0.2", 0)).network.remove(0).1;
    let cookie = b.udp(a.address, &first).network.remove(0).1;
    assert_eq!((cookie[0], cookie.len()), (3, 64));
    assert!(a.udp(b.address, &cookie).network.is_empty());

    // The core's own clock decides on the next attempt: after 5 s (Rekey-Timeout).
    let deadline = Instant::now() + Duration::from_secs(9);
    let mut arrived = vec![];
    while arrived.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        b.timers(Instant::now());
        let sent = a.timers(Instant::now());
        for (_, datagram) in &sent.network {
            assert_eq!(datagram.len(), 148);
            assert_ne!(datagram[132..], [0; 16], "the second attempt carries mac2");
            attack(&mut b);
        }
        arrived = exchange(&mut a, &mut b, sent).1;
    }
    assert_eq!(arrived.len(), 1);
}

#[test]
fn the_words_of_wg_reach_the_device() {
    let (mut a, b) = pair();
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (old, new) = (hex(&b.key.public_key().0), hex(&[7; 32]));
    let mut run = |text: &str| match uapi::parse(text).unwrap() {
        Request::Set(changes) => a.device.configure(&changes, Instant::now(), &mut Outbox::new()),
        Request::Get => panic!("not a change"),
    };
    run(&format!(
        "set=1\npublic_key={new}\nupdate_only=true\nallowed_ip=10.0.0.7/32\n\n"
    ));
    run(&format!(
        "set=1\npublic_key={old}\nreplace_allowed_ips=true\nallowed_ip=10.0.0.8/32\nallowed_ip=10.0.0.9/32\n\n"
    ));
    run(&format!("set=1\npublic_key={old}\nallowed_ip=-10.0.0.9/32\n\n"));
    let report = uapi::format_report(&a.device.report(Instant::now(), SystemTime::now()));
    assert!(!report.contains(&new), "update_only makes no peer");
    assert!(report.contains("\nallowed_ip=10.0.0.8/32\nerrno=0\n"), "{report}");
    let mut run = |text: &str| match uapi::parse(text).unwrap() {
        Request::Set(changes) => a.device.configure(&changes, Instant::now(), &mut Outbox::new()),
        Request::Get => panic!("not a change"),
    };
    run(&format!(
        "set=1\nreplace_peers=true\npublic_key={new}\nallowed_ip=10.0.0.8/32\n\n"
    ));
    run(&format!("set=1\npublic_key={new}\nremove=true\n\n"));
    assert_eq!(a.device.status(Instant::now(), SystemTime::now()).peers, []);
}

/// Ten thousand members come, tick and go; whoever stays is unharmed.
#[test]
fn ten_thousand_members() {
    let (mut a, mut b) = joined();
    let member = |number: u32| {
        let mut key = [3; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PeerConfig {
            public_key: fielato_wireguard::PublicKey(key),
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: number.is_multiple_of(2).then_some(25),
            allowed_ips: vec![
                format!("10.1.{}.{}/32", number >> 8, number & 0xff).parse().unwrap(),
                format!("fd01::{number:x}/128").parse().unwrap(),
            ],
        }
    };
    let kept = b.as_peer(&["10.0.0.2/32", "fd00::2/128"]);
    a.set((0..10_000).map(member).chain([kept.clone()]).collect());
    assert_eq!(a.device.status(Instant::now(), SystemTime::now()).peers.len(), 10_001);
    assert!(a.timers(Instant::now()).network.is_empty());
    for number in (0..10_000).filter(|number| number % 3 != 0) {
        a.apply(PeerChange::Remove(member(number).public_key));
    }
    a.timers(Instant::now());
    for number in 0..100 {
        a.apply(PeerChange::Set(member(number)));
    }
    a.timers(Instant::now());
    let sent = a.tun(&packet("10.0.0.1", "10.0.0.2", 0));
    assert_eq!(sent.network[0].1[0], 4, "data under the old session");
    assert_eq!(exchange(&mut a, &mut b, sent).1.len(), 1);
    a.set(vec![kept]);
    assert_eq!(a.device.status(Instant::now(), SystemTime::now()).peers.len(), 1);
    a.tun(&packet("10.0.0.1", "10.1.0.1", 0));
    assert_eq!(a.dropped(DropReason::NoPeerForDestination), 1);
}
