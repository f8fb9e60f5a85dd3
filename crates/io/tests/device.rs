//! Our device with itself, by its own interface, over real interfaces.
//!
//! ```text
//!   namespace A                                namespace B
//!   our device: 10.8.0.1, fd08::1              ours: 10.8.0.2, fd08::2
//!   v0: 10.9.0.1, fd09::1  ───── veth ─────    v0: 10.9.0.2, fd09::2
//! ```

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::devices::{PORT, config, create, ours, peer};
use common::{Namespace, cable, can_run, keys, ping, raise, wait_for};
use fielato_io::Exit;
use fielato_wireguard::PeerChange;

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
