//! Bad datagrams over real sockets: each is dropped and counted under its own reason, and does no harm.
//!
//! ```text
//!   namespace A: device a  ─────  namespace B: proxy ── device b
//! ```

mod common;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::devices::{PORT, config, create, dropped, ours, peer};
use common::proxy::{DATA, INITIATION, Proxy, RESPONSE};
use common::{Namespace, cable, can_run, keys, ping, unique, wait_for};
use fielato_io::Device;
use fielato_wireguard::{DropReason, PeerChange, PrivateKey, PublicKey};

/// Reasons for what comes from the network. Neighbour discovery on the overlay may count others at any time.
const INCOMING: [DropReason; 12] = [
    DropReason::Malformed,
    DropReason::BadMac,
    DropReason::UnderLoad,
    DropReason::NoPrivateKey,
    DropReason::UnknownPeer,
    DropReason::UnknownIndex,
    DropReason::NoSession,
    DropReason::Replayed,
    DropReason::ReplayedHandshake,
    DropReason::Unexpected,
    DropReason::NotAuthentic,
    DropReason::InnerMalformed,
];

/// Devices that know each other, with a proxy on the way from `a` to `b`, and a session between them.
struct Path {
    a: Namespace,
    _b: Namespace,
    a_device: Device,
    b_device: Device,
    b_public: PublicKey,
    proxy: Proxy,
}

impl Path {
    fn new() -> Self {
        let (a, b) = cable();
        let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
        let (a_device, a_name) = create(&a, &config(&a_key, vec![peer(b_public, 2, Some("10.9.0.2:7777"))]));
        let (b_device, b_name) = create(&b, &config(&b_key, vec![peer(a_public, 1, None)]));
        let proxy = Proxy::new(&b, "10.9.0.2:7777", "10.9.0.2:51820");
        for (namespace, name) in [(&a, &a_name), (&b, &b_name)] {
            // What the kernel says on its own must not be mistaken for what the test sends.
            namespace.run(&format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"));
            raise_v4(namespace, name, if name == &a_name { 1 } else { 2 });
        }
        assert!(ping(&a, "10.8.0.2"));
        Self {
            a,
            _b: b,
            a_device,
            b_device,
            b_public,
            proxy,
        }
    }

    /// Data messages that `b` has not seen.
    fn unseen(&self, count: usize) -> Vec<Vec<u8>> {
        // A passive keepalive may follow what came before, ten seconds later: then these are more.
        self.proxy.forget();
        self.proxy.hold(true);
        self.a.attempt(&format!("ping -q -c {count} -i 0.05 -W 1 10.8.0.2"));
        let mut messages = self.proxy.taken(DATA, count);
        self.proxy.hold(false);
        // Of an echo's size; a keepalive is 32 bytes.
        messages.retain(|message| message.len() > 32);
        messages
    }

    /// `datagrams` arrive at `b` and are counted under `reason`, and under no other.
    #[track_caller]
    fn b_drops(&self, reason: DropReason, datagrams: &[Vec<u8>]) {
        counts(&self.b_device, reason, datagrams.len() as u64, || {
            datagrams.iter().for_each(|datagram| self.proxy.inject(datagram));
        });
    }
}

fn raise_v4(namespace: &Namespace, name: &str, host: u8) {
    namespace.run(&format!("ip addr add 10.8.0.{host}/24 dev {name}"));
    namespace.run(&format!("ip link set {name} up"));
}

#[track_caller]
fn counts(device: &Device, reason: DropReason, expected: u64, act: impl FnOnce()) {
    let all = || INCOMING.map(|reason| dropped(device, reason));
    let before = all();
    act();
    let at = INCOMING.iter().position(|other| *other == reason).unwrap();
    let mut wanted = before;
    wanted[at] += expected;
    let deadline = Instant::now() + Duration::from_secs(if common::is_slow() { 30 } else { 5 });
    while all() != wanted && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let now = all();
    let changed: Vec<_> = INCOMING
        .iter()
        .zip(before.iter().zip(now))
        .filter(|(_, (before, now))| *before != now)
        .map(|(reason, (before, now))| (reason, now - before))
        .collect();
    assert_eq!(changed, [(&INCOMING[at], expected)]);
}

#[test]
fn truncated_and_oversized() {
    if !can_run("truncated_and_oversized") {
        return;
    }
    let path = Path::new();
    let (initiation, response) = (
        path.proxy.taken(INITIATION, 1).remove(0),
        path.proxy.taken_back(RESPONSE, 1).remove(0),
    );
    let data = path.unseen(1).remove(0);
    let cut = |message: &[u8], len: usize| message[..len].to_vec();
    let longer = |message: &[u8]| [message, &[0; 16]].concat();
    path.b_drops(
        DropReason::Malformed,
        &[
            vec![],
            vec![4],
            cut(&data, 4),
            cut(&data, 16),
            cut(&data, 31),
            cut(&initiation, 147),
            cut(&response, 91),
            longer(&initiation),
            longer(&response),
            // The largest datagram there is; no such type.
            vec![0xaa; 65_507],
            // Bytes that are reserved.
            [&[4, 1, 0, 0][..], &data[4..]].concat(),
            [&[1, 0, 0, 1][..], &initiation[4..]].concat(),
            [&[5, 0, 0, 0][..], &data[4..]].concat(),
            [&[0, 0, 0, 0][..], &data[4..]].concat(),
        ],
    );
    path.b_drops(
        DropReason::NotAuthentic,
        &[
            cut(&data, 32),
            cut(&data, data.len() - 1),
            cut(&data, data.len() - 16),
            longer(&data),
            [data.clone(), vec![0; 65_507 - data.len()]].concat(),
        ],
    );
    assert!(ping(&path.a, "10.8.0.2"));
}

#[test]
fn damaged_and_repeated() {
    if !can_run("damaged_and_repeated") {
        return;
    }
    let path = Path::new();
    let (initiation, response) = (
        path.proxy.taken(INITIATION, 1).remove(0),
        path.proxy.taken_back(RESPONSE, 1).remove(0),
    );
    let messages = path.unseen(3);
    let flipped = |message: &[u8], at: usize| {
        let mut message = message.to_vec();
        message[at] ^= 1;
        message
    };
    // Header's counter (to one that was not seen), text, tag: what is damaged does not use up the counter of what is not.
    let last = messages[0].len() - 1;
    let damaged: Vec<_> = [10, 20, last].map(|at| flipped(&messages[0], at)).into();
    path.b_drops(DropReason::NotAuthentic, &damaged);
    let before = path.b_device.status().peers[0].rx_bytes;
    messages.iter().for_each(|message| path.proxy.inject(message));
    let bytes: u64 = messages.iter().map(|message| message.len() as u64).sum();
    wait_for("the messages themselves", || {
        path.b_device.status().peers[0].rx_bytes >= before + bytes
    });
    path.b_drops(DropReason::Replayed, &messages);

    path.b_drops(DropReason::BadMac, &[flipped(&initiation, 40), flipped(&initiation, 120)]);
    path.b_drops(DropReason::ReplayedHandshake, std::slice::from_ref(&initiation));
    counts(&path.a_device, DropReason::Unexpected, 1, || {
        path.proxy.inject_back(&response)
    });
    counts(&path.a_device, DropReason::BadMac, 1, || {
        path.proxy.inject_back(&flipped(&response, 50));
    });
    assert!(ping(&path.a, "10.8.0.2"), "the session lives");
}

#[test]
fn of_no_session_and_with_wrong_keys() {
    if !can_run("of_no_session_and_with_wrong_keys") {
        return;
    }
    let path = Path::new();
    let data = path.unseen(1).remove(0);
    // Nobody has this number.
    let nobody: Vec<Vec<u8>> = [0x5a5a_5a5a_u32, u32::MAX]
        .map(|number| [&data[..4], &number.to_le_bytes(), &data[8..]].concat())
        .into();
    path.b_drops(DropReason::UnknownIndex, &nobody);

    // A stranger who knows our public key, and one who means another device.
    let (_, elsewhere) = keys();
    path.b_drops(DropReason::UnknownPeer, &[initiation(&path.a, path.b_public)]);
    path.b_drops(DropReason::BadMac, &[initiation(&path.a, elsewhere)]);
    assert!(ping(&path.a, "10.8.0.2"));
}

/// A handshake initiation of somebody new, for `to`.
fn initiation(namespace: &Namespace, to: PublicKey) -> Vec<u8> {
    let socket = namespace.within(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut begin = peer(to, 9, Some(&socket.local_addr().unwrap().to_string()));
    begin.persistent_keepalive = Some(1);
    let mut config = config(&PrivateKey::generate().unwrap(), vec![begin]);
    config.listen_port = 0;
    let name = unique("s");
    let stranger = namespace.within(|| Device::create(&name, 1420, &config)).unwrap();
    namespace.run(&format!("ip link set {name} up"));
    let mut buffer = [0; 200];
    let len = socket.recv(&mut buffer).unwrap();
    stranger.stop();
    buffer[..len].to_vec()
}

#[test]
fn in_another_order() {
    if !can_run("in_another_order") {
        return;
    }
    let path = Path::new();
    let before = INCOMING.map(|reason| dropped(&path.b_device, reason));
    let told = std::thread::scope(|scope| {
        path.proxy.forget();
        path.proxy.hold(true);
        let ping = scope.spawn(|| path.a.run("ping -q -c 20 -i 0.02 -W 10 10.8.0.2"));
        let mut messages = path.proxy.taken(DATA, 20);
        path.proxy.hold(false);
        messages.reverse();
        messages.iter().for_each(|message| path.proxy.inject(message));
        ping.join().unwrap()
    });
    assert!(told.contains(" 20 received, 0% packet loss"), "{told}");
    assert_eq!(before, INCOMING.map(|reason| dropped(&path.b_device, reason)));
}

#[test]
fn without_a_key_nothing_is_heard() {
    if !can_run("without_a_key_nothing_is_heard") {
        return;
    }
    let namespace = Namespace::new();
    let name = unique("w");
    let device = namespace.within(|| Device::create_unconfigured(&name, 1420)).unwrap();
    let port = device.status().listen_port;
    counts(&device, DropReason::NoPrivateKey, 1, || {
        let socket = namespace.within(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let mut initiation = [1; 148];
        initiation[1..4].fill(0);
        socket.send_to(&initiation, ("127.0.0.1", port)).unwrap();
    });
}

#[test]
fn forged_sources_and_garbage() {
    if !can_run("forged_sources_and_garbage") {
        return;
    }
    let (a, _b, _a_device, b_device, ..) = ours();
    assert!(ping(&a, "10.8.0.2"));
    a.run("ip addr add 10.8.0.9/32 dev lo");
    assert!(!a.attempt("ping -c 3 -i 0.2 -W 1 -I 10.8.0.9 10.8.0.2"));
    assert_eq!(dropped(&b_device, DropReason::SourceNotAllowed), 3);
    a.run("ip addr add fd08::9/128 dev lo nodad");
    assert!(!a.attempt("ping -c 3 -i 0.2 -W 1 -I fd08::9 fd08::2"));
    assert_eq!(dropped(&b_device, DropReason::SourceNotAllowed), 6);

    a.within(|| {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for len in 0..50 {
            socket.send_to(&vec![0xaa; len * 10], ("10.9.0.2", PORT)).unwrap();
        }
        let socket = UdpSocket::bind("[fd09::1]:0").unwrap();
        for len in 0..50 {
            socket.send_to(&vec![0xaa; len * 10], ("fd09::2", PORT)).unwrap();
        }
    });
    wait_for("100 datagrams of garbage", || {
        dropped(&b_device, DropReason::Malformed) == 100
    });
    assert!(ping(&a, "10.8.0.2") && ping(&a, "fd08::2"));
}

/// A peer that is removed is unknown at once, and its session with it.
#[test]
fn of_a_peer_that_was_removed() {
    if !can_run("of_a_peer_that_was_removed") {
        return;
    }
    let path = Path::new();
    let removed = path.b_device.status().peers[0].public_key;
    path.b_device.apply(&[PeerChange::Remove(removed)]);
    let data = path.unseen(1);
    path.b_drops(DropReason::UnknownIndex, &data);
    path.proxy.forget();
}
