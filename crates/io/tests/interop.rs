//! Our device with wireguard-go, and with itself, over real interfaces.
//!
//! ```text
//!   namespace A                                namespace B
//!   our device: 10.8.0.1, fd08::1              wireguard-go or ours: 10.8.0.2, fd08::2
//!   v0: 10.9.0.1, fd09::1  ───── veth ─────    v0: 10.9.0.2, fd09::2
//! ```

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{Namespace, Program, cable, can_run, key_file, keys, ping, raise, transfer, unique, wait_for};
use fielato_io::{Device, Exit};
use fielato_wireguard::aead::Ring;
use fielato_wireguard::{DeviceConfig, DropReason, Outbox, PeerChange, PeerConfig, PresharedKey, PrivateKey, PublicKey};

const PORT: u16 = 51820;

fn peer(public_key: PublicKey, host: u8, endpoint: Option<&str>) -> PeerConfig {
    PeerConfig {
        public_key,
        preshared_key: None,
        endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
        persistent_keepalive: None,
        allowed_ips: vec![
            format!("10.8.0.{host}/32").parse().unwrap(),
            format!("fd08::{host}/128").parse().unwrap(),
        ],
    }
}

fn config(private_key: &PrivateKey, peers: Vec<PeerConfig>) -> DeviceConfig {
    DeviceConfig {
        private_key: private_key.clone(),
        listen_port: PORT,
        fwmark: 0,
        peers,
    }
}

fn create(namespace: &Namespace, config: &DeviceConfig) -> (Device, String) {
    let name = unique("w");
    let device = namespace.within(|| Device::create(&name, 1420, config)).unwrap();
    (device, name)
}

fn dropped(device: &Device, reason: DropReason) -> u64 {
    device.drops().into_iter().find(|(at, _)| *at == reason).unwrap().1
}

/// Two of our devices that know each other.
fn ours() -> (Namespace, Namespace, Device, Device, PrivateKey, PrivateKey) {
    let (a, b) = cable();
    let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
    let (a_device, a_name) = create(&a, &config(&a_key, vec![peer(b_public, 2, Some("10.9.0.2:51820"))]));
    let (b_device, b_name) = create(&b, &config(&b_key, vec![peer(a_public, 1, None)]));
    raise(&a, &a_name, 1);
    raise(&b, &b_name, 2);
    (a, b, a_device, b_device, a_key, b_key)
}

#[test]
fn with_wireguard_go_in_both_roles() {
    if !can_run("with_wireguard_go_in_both_roles") {
        return;
    }
    for (v6, psk, we_begin) in [
        (false, false, true),
        (false, true, false),
        (true, true, true),
        (true, false, false),
    ] {
        eprintln!("outer IPv6: {v6}, pre-shared key: {psk}, we begin: {we_begin}");
        let (a, b) = cable();
        let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
        let preshared = psk.then(|| PresharedKey::generate().unwrap());
        let at = |host: u8| {
            if v6 {
                format!("[fd09::{host}]:{PORT}")
            } else {
                format!("10.9.0.{host}:{PORT}")
            }
        };
        let mut to_b = peer(b_public, 2, we_begin.then(|| at(2)).as_deref());
        to_b.preshared_key = preshared.clone();
        let (device, a_name) = create(&a, &config(&a_key, vec![to_b]));
        let b_name = unique("g");
        let _go = Program::wireguard_go(&b, &b_name);
        let key = key_file(&b_key.to_base64());
        let psk = preshared.map(|psk| key_file(&psk.to_base64()));
        let psk = psk.as_ref().map_or(std::path::Path::new("/dev/null"), |file| file.path());
        let endpoint = if we_begin {
            String::new()
        } else {
            format!("endpoint {}", at(1))
        };
        b.run(&format!(
            "wg set {b_name} private-key {} listen-port {PORT} peer {a_public} preshared-key {} {endpoint} \
             allowed-ips 10.8.0.1/32,fd08::1/128",
            key.path().display(),
            psk.display(),
        ));
        raise(&a, &a_name, 1);
        raise(&b, &b_name, 2);
        if we_begin {
            assert!(ping(&a, "10.8.0.2") && ping(&a, "fd08::2") && ping(&b, "10.8.0.1") && ping(&b, "fd08::1"));
        } else {
            assert!(!a.attempt("ping -c 1 -W 1 10.8.0.2"), "no endpoint is known yet");
            assert_eq!(dropped(&device, DropReason::NoEndpoint), 1);
            assert!(ping(&b, "10.8.0.1") && ping(&b, "fd08::1") && ping(&a, "10.8.0.2") && ping(&a, "fd08::2"));
        }
        transfer(&a, &b, "10.8.0.2".parse().unwrap(), 3 << 20);
        transfer(&b, &a, "fd08::1".parse().unwrap(), 3 << 20);
        let status = device.status();
        assert_eq!(status.peers[0].endpoint, Some(at(2).parse().unwrap()));
        assert!(status.peers[0].latest_handshake.is_some());
        assert!(status.peers[0].rx_bytes > 3 << 20 && status.peers[0].tx_bytes > 3 << 20);
        let go = b.run(&format!("wg show {b_name} transfer"));
        let counts: Vec<u64> = go.split_whitespace().skip(1).map(|count| count.parse().unwrap()).collect();
        assert!(counts[0] > 3 << 20 && counts[1] > 3 << 20, "{go}");
    }
}

#[test]
fn a_peer_moves_by_port_and_by_address() {
    if !can_run("a_peer_moves_by_port_and_by_address") {
        return;
    }
    let (a, _b, a_device, b_device, a_key, _) = ours();
    assert!(ping(&a, "10.8.0.2"));
    let seen = || b_device.status().peers[0].endpoint;
    assert_eq!(seen(), Some(SocketAddr::from(([10, 9, 0, 1], PORT))));

    let mut moved = config(&a_key, vec![]);
    moved.peers = a_device
        .status()
        .peers
        .iter()
        .map(|at| peer(at.public_key, 2, None))
        .collect();
    moved.listen_port = 51999;
    a.within(|| a_device.set(&moved)).unwrap();
    assert!(ping(&a, "10.8.0.2"));
    assert_eq!(seen(), Some(SocketAddr::from(([10, 9, 0, 1], 51999))));

    a.run("ip addr add 10.9.0.77/24 dev v0");
    a.run("ip addr del 10.9.0.1/24 dev v0");
    a.run("ip addr replace 10.9.0.77/24 dev v0");
    assert!(ping(&a, "fd08::2"));
    assert_eq!(seen(), Some(SocketAddr::from(([10, 9, 0, 77], 51999))));
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    if !can_run("answers_leave_from_the_address_that_was_asked") {
        return;
    }
    for endpoint in ["10.9.0.22:51820", "[fd09::22]:51820"] {
        let (a, b) = cable();
        // The system would choose 10.9.0.2 and fd09::2.
        b.run("ip addr add 10.9.0.22/24 dev v0");
        b.run("ip addr add fd09::22/64 dev v0 nodad");
        let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
        let (a_device, a_name) = create(&a, &config(&a_key, vec![peer(b_public, 2, Some(endpoint))]));
        let (_b_device, b_name) = create(&b, &config(&b_key, vec![peer(a_public, 1, None)]));
        raise(&a, &a_name, 1);
        raise(&b, &b_name, 2);
        assert!(ping(&a, "10.8.0.2"));
        assert_eq!(
            a_device.status().peers[0].endpoint,
            Some(endpoint.parse().unwrap()),
            "the peer seems to have moved"
        );
    }
}

#[test]
fn keepalives_arrive_without_traffic() {
    if !can_run("keepalives_arrive_without_traffic") {
        return;
    }
    let (_a, _b, a_device, b_device, _, b_key) = ours();
    let mut with = peer(b_key.public_key(), 2, Some("10.9.0.2:51820"));
    with.persistent_keepalive = Some(1);
    a_device.apply(&[PeerChange::Set(with)]);
    wait_for("a handshake without traffic", || {
        b_device.status().peers[0].latest_handshake.is_some()
    });
    let before = b_device.status().peers[0].rx_bytes;
    wait_for("three keepalives", || b_device.status().peers[0].rx_bytes >= before + 3 * 32);
}

#[test]
fn forged_sources_and_garbage_are_dropped_and_counted() {
    if !can_run("forged_sources_and_garbage_are_dropped_and_counted") {
        return;
    }
    let (a, _b, _a_device, b_device, ..) = ours();
    assert!(ping(&a, "10.8.0.2"));
    a.run("ip addr add 10.8.0.9/32 dev lo");
    assert!(!a.attempt("ping -c 3 -i 0.2 -W 1 -I 10.8.0.9 10.8.0.2"));
    assert_eq!(dropped(&b_device, DropReason::SourceNotAllowed), 3);

    a.within(|| {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for len in 0..50 {
            socket.send_to(&vec![0xaa; len * 10], "10.9.0.2:51820").unwrap();
        }
    });
    wait_for("50 datagrams of garbage", || dropped(&b_device, DropReason::Malformed) == 50);
    assert!(ping(&a, "10.8.0.2"));
}

#[test]
fn a_device_ends_when_its_interface_is_removed() {
    if !can_run("a_device_ends_when_its_interface_is_removed") {
        return;
    }
    let namespace = Namespace::new();
    let (key, _) = keys();
    let (device, name) = create(&namespace, &config(&key, vec![]));
    let (sender, receiver) = std::sync::mpsc::channel();
    device.notify_exit(sender);
    assert_eq!(device.wait(Duration::from_millis(1)), None);
    namespace.run(&format!("ip link set {name} up"));
    namespace.run(&format!("ip link del {name}"));
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(Exit::InterfaceRemoved));
    assert_eq!(device.wait(Duration::ZERO), Some(Exit::InterfaceRemoved));
    device.stop();
    assert!(!std::path::Path::new(&format!("/var/run/wireguard/{name}.sock")).exists());
}

#[test]
fn nothing_is_left_after_stop() {
    if !can_run("nothing_is_left_after_stop") {
        return;
    }
    let namespace = Namespace::new();
    let (key, _) = keys();
    let (device, name) = create(&namespace, &config(&key, vec![]));
    let socket = format!("/var/run/wireguard/{name}.sock");
    assert!(std::path::Path::new(&socket).exists());
    device.stop();
    assert!(!std::path::Path::new(&socket).exists());
    // Another test may be starting a program just now, which holds copies of our descriptors until it runs.
    wait_for("the interface to go", || !namespace.attempt(&format!("ip link show {name}")));
    wait_for("the port to be free", || {
        namespace.within(|| UdpSocket::bind(("0.0.0.0", PORT)).is_ok())
    });
}

/// Our cookies are what wireguard-go understands: it gets through a flood of forged handshakes with one.
#[test]
fn wireguard_go_gets_through_a_flood() {
    if !can_run("wireguard_go_gets_through_a_flood") {
        return;
    }
    let (a, b) = cable();
    let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
    let (device, a_name) = create(&a, &config(&a_key, vec![peer(b_public, 2, None)]));
    raise(&a, &a_name, 1);
    let flood: Vec<Vec<u8>> = (0..150).map(|_| forged_initiation(a_public)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            b.within(|| {
                let socket = UdpSocket::bind("10.9.0.2:0").unwrap();
                let deadline = Instant::now() + Duration::from_secs(15);
                while !done.load(Ordering::Relaxed) && Instant::now() < deadline {
                    flood
                        .iter()
                        .for_each(|initiation| drop(socket.send_to(initiation, "10.9.0.1:51820")));
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
        });
        wait_for("cookies", || dropped(&device, DropReason::UnderLoad) > 200);
        let b_name = unique("g");
        let _go = Program::wireguard_go(&b, &b_name);
        let key = key_file(&b_key.to_base64());
        raise(&b, &b_name, 2);
        b.run(&format!(
            "wg set {b_name} private-key {} peer {a_public} endpoint 10.9.0.1:51820 persistent-keepalive 1 \
             allowed-ips 10.8.0.1/32",
            key.path().display()
        ));
        let joined = || device.status().peers[0].latest_handshake.is_some();
        let deadline = Instant::now() + Duration::from_secs(15);
        while !joined() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
        assert!(joined(), "no handshake in spite of the cookie");
        assert!(ping(&b, "10.8.0.1"));
    });
}

/// A handshake initiation of a stranger who knows the device's public key.
fn forged_initiation(to: PublicKey) -> Vec<u8> {
    let (key, _) = keys();
    let now = Instant::now();
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&key.0[..4]);
    let mut stranger = fielato_wireguard::Device::new(1420, Box::new(Ring), seed, now, SystemTime::now());
    let mut out = Outbox::new();
    let mut begin = peer(to, 1, Some("10.9.0.1:51820"));
    begin.persistent_keepalive = Some(1);
    stranger.with_control(|control| control.set(&config(&key, vec![begin]), now, &mut out));
    out.iter().next().unwrap().1.to_vec()
}
