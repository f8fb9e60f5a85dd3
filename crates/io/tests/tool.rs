//! Our device as `wg` sees it, and what stands in the way of making one.

mod common;

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use common::{Namespace, attempt, can_run, key_file, keys, unique, wait_for};
use fielato_io::{CreateError, Device};
use fielato_wireguard::{DeviceConfig, PrivateKey, PublicKey};

fn device(namespace: &Namespace) -> (Device, String) {
    let name = unique("w");
    let device = namespace.within(|| Device::create_unconfigured(&name, 1420)).unwrap();
    (device, name)
}

fn config(private_key: &PrivateKey, listen_port: u16) -> DeviceConfig {
    DeviceConfig {
        private_key: private_key.clone(),
        listen_port,
        fwmark: 0,
        peers: vec![],
    }
}

fn public(number: u32) -> PublicKey {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey(key)
}

fn address(number: u32) -> String {
    format!("10.{}.{}.{}/32", 100 + (number >> 16), (number >> 8) & 0xff, number & 0xff)
}

/// What `wg setconf` reads, for peers of these numbers.
fn text(private_key: &PrivateKey, numbers: impl Iterator<Item = u32>) -> String {
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = 51820\n", private_key.to_base64());
    for number in numbers {
        let (key, ip) = (public(number), address(number));
        write!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {ip}, fd00::{number:x}/128\n").unwrap();
    }
    text
}

fn count_peers(namespace: &Namespace, name: &str) -> usize {
    namespace.run(&format!("wg show {name} peers")).lines().count()
}

#[test]
fn every_value_is_set_and_shown() {
    if !can_run("every_value_is_set_and_shown") {
        return;
    }
    let namespace = Namespace::new();
    let (_device, name) = device(&namespace);
    let set = |words: &str| namespace.run(&format!("wg set {name} {words}"));
    let dump = || namespace.run(&format!("wg show {name} dump"));
    let ((key, own), (_, peer)) = (keys(), keys());
    let (private, preshared) = (key_file(&key.to_base64()), key_file(&key.to_base64()));
    let port = namespace.run(&format!("wg show {name} listen-port"));
    assert!(port.trim().parse::<u16>().unwrap() > 0);

    set(&format!(
        "private-key {} listen-port 4001 fwmark 0x10",
        private.path().display()
    ));
    assert_eq!(dump(), format!("{}\t{own}\t4001\t0x10\n", key.to_base64()));
    set("fwmark 0 listen-port 4002");
    assert_eq!(dump(), format!("{}\t{own}\t4002\toff\n", key.to_base64()));

    set(&format!(
        "peer {peer} preshared-key {} endpoint 10.0.0.9:5 persistent-keepalive 25 allowed-ips 10.1.0.0/16,fd00::/8",
        preshared.path().display()
    ));
    let line = dump().lines().nth(1).unwrap().to_owned();
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(
        fields[..5],
        [&peer.to_string(), &key.to_base64(), "10.0.0.9:5", "10.1.0.0/16,fd00::/8", "0"]
    );
    assert_eq!(fields[7], "25");
    // `wg` asks for all of a peer's allowed IPs to be replaced.
    set(&format!(
        "peer {peer} preshared-key /dev/null endpoint [fd00::7]:6 persistent-keepalive off allowed-ips 10.2.0.0/16"
    ));
    let line = dump().lines().nth(1).unwrap().to_owned();
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields[1..4], ["(none)", "[fd00::7]:6", "10.2.0.0/16"]);
    assert_eq!(fields[7], "off");
    set(&format!("peer {own}"));
    assert_eq!(count_peers(&namespace, &name), 1, "a device is not its own peer");
    set(&format!("peer {peer} remove"));
    assert_eq!(count_peers(&namespace, &name), 0);
    assert!(namespace.run(&format!("wg show {name}")).contains("listening port: 4002"));
    assert!(namespace.run("wg show interfaces").contains(&name));

    namespace.within(|| {
        let _taken = UdpSocket::bind("0.0.0.0:4003").unwrap();
        let output = attempt(&format!("wg set {name} listen-port 4003"), "");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("Address already in use"));
    });
    assert_eq!(
        namespace.run(&format!("wg show {name} listen-port")).trim(),
        "4002",
        "nothing has changed"
    );
}

#[test]
fn a_thousand_peers_by_setconf_addconf_and_syncconf() {
    if !can_run("a_thousand_peers_by_setconf_addconf_and_syncconf") {
        return;
    }
    let namespace = Namespace::new();
    let (_device, name) = device(&namespace);
    let (key, _) = keys();
    let load = |verb: &str, numbers: std::ops::Range<u32>| {
        let file = key_file(&text(&key, numbers));
        namespace.run(&format!("wg {verb} {name} {}", file.path().display()));
    };
    load("setconf", 1..1001);
    assert_eq!(count_peers(&namespace, &name), 1000);
    let allowed = namespace.run(&format!("wg show {name} allowed-ips"));
    for number in 1..1001 {
        assert!(allowed.contains(&format!("{}\t{} fd00::{number:x}/128\n", public(number), address(number))));
    }
    load("addconf", 1001..1011);
    assert_eq!(count_peers(&namespace, &name), 1010);
    load("syncconf", 5..1005);
    assert_eq!(count_peers(&namespace, &name), 1000);
    load("setconf", 2000..2003);
    assert_eq!(count_peers(&namespace, &name), 3);
}

#[test]
fn an_allowed_ip_moves_between_peers() {
    if !can_run("an_allowed_ip_moves_between_peers") {
        return;
    }
    let namespace = Namespace::new();
    let (_device, name) = device(&namespace);
    namespace.run(&format!(
        "wg set {name} peer {} allowed-ips 10.1.0.0/24,10.2.0.0/24",
        public(1)
    ));
    namespace.run(&format!("wg set {name} peer {} allowed-ips 10.2.0.0/24", public(2)));
    let shown = namespace.run(&format!("wg show {name} allowed-ips"));
    assert!(shown.contains(&format!("{}\t10.1.0.0/24\n", public(1))), "{shown}");
    assert!(shown.contains(&format!("{}\t10.2.0.0/24\n", public(2))), "{shown}");
}

#[test]
fn a_taken_port_is_named() {
    if !can_run("a_taken_port_is_named") {
        return;
    }
    let namespace = Namespace::new();
    let (key, _) = keys();
    let (first, second) = (unique("w"), unique("w"));
    let _first = namespace
        .within(|| Device::create(&first, 1420, &config(&key, 51820)))
        .unwrap();
    let error = namespace
        .within(|| Device::create(&second, 1420, &config(&key, 51820)))
        .err()
        .unwrap();
    assert!(matches!(error, CreateError::Port { port: 51820, .. }));
    assert!(
        error.to_string().starts_with("UDP port 51820: Address already in use"),
        "{error}"
    );
    assert!(!namespace.attempt(&format!("ip link show {second}")));
    // Taken in one family only: still refused.
    namespace.within(|| {
        let _taken = UdpSocket::bind("[::1]:51821").unwrap();
        assert!(matches!(
            Device::create(&second, 1420, &config(&key, 51821)),
            Err(CreateError::Port { .. })
        ));
    });
}

#[test]
fn an_interface_of_that_name_is_left_alone() {
    if !can_run("an_interface_of_that_name_is_left_alone") {
        return;
    }
    let namespace = Namespace::new();
    for (kind, name) in [
        ("ip link add NAME type veth peer name other", unique("w")),
        ("ip tuntap add NAME mode tun", unique("w")),
    ] {
        namespace.run(&kind.replace("NAME", &name));
        let error = namespace.within(|| Device::create_unconfigured(&name, 1420)).err().unwrap();
        assert!(matches!(error, CreateError::Interface { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        namespace.run(&format!("ip link show {name}"));
    }
    let error = namespace
        .within(|| Device::create_unconfigured("a-name-that-is-too-long", 1420))
        .err()
        .unwrap();
    assert!(error.to_string().contains("1 to 15 bytes"), "{error}");
}

#[test]
fn a_live_socket_is_refused_and_a_stale_one_replaced() {
    if !can_run("a_live_socket_is_refused_and_a_stale_one_replaced") {
        return;
    }
    let namespace = Namespace::new();
    let name = unique("w");
    let path = std::path::PathBuf::from(format!("/var/run/wireguard/{name}.sock"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let foreign = UnixListener::bind(&path).unwrap();
    let error = namespace.within(|| Device::create_unconfigured(&name, 1420)).err().unwrap();
    assert!(matches!(error, CreateError::Socket { .. }), "{error}");
    assert!(error.to_string().contains("a running program serves"), "{error}");
    assert!(path.exists() && !namespace.attempt(&format!("ip link show {name}")));

    drop(foreign);
    // Another test may be starting a program just now, which holds a copy of the socket until it runs.
    let mut device = None;
    wait_for("the stale socket to be replaced", || {
        device = namespace.within(|| Device::create_unconfigured(&name, 1420)).ok();
        device.is_some()
    });
    let device = device.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    device.stop();
    assert!(!path.exists());
}
