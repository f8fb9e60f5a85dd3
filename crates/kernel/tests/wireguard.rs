//! The kernel's WireGuard for real, where the kernel has it.
//!
//! ```text
//!  left ── eth0 192.0.2.1 ═══ veth ═══ eth0 192.0.2.2 ── right
//!    └ wg0 10.9.0.1, fd09::1             └ wg0 10.9.0.2, fd09::2
//! ```

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::peer_packets::PeerCounting;
use fielato_kernel::wireguard::{Wireguard, WireguardError};
use fielato_kernel::{address, link, wireguard};
use fielato_wireguard::{DeviceConfig, PeerChange, PeerConfig, PeerPackets, PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;

use common::{namespace, netlink};

fn namespaces<const N: usize>(test: &str) -> Option<[NetnsGuard; N]> {
    if !wireguard::available() {
        fielato_testkit::skip(test, "this kernel has no module wireguard");
        return None;
    }
    let made: Option<Vec<NetnsGuard>> = (0..N).map(|_| namespace(test)).collect();
    made.map(|made| made.try_into().unwrap())
}

fn peer(number: u32) -> PeerConfig {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let v6 = (0xfd00_u128 << 112) | u128::from(number);
    PeerConfig {
        public_key: PublicKey(key),
        preshared_key: number.is_multiple_of(2).then_some(PresharedKey([9; 32])),
        endpoint: None,
        persistent_keepalive: number.is_multiple_of(3).then_some(25),
        allowed_ips: vec![
            IpNet::new(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), 32).unwrap(),
            IpNet::new(IpAddr::from(v6.to_be_bytes()), 128).unwrap(),
        ],
    }
}

/// `wg show wg0 dump`, by public key; the interface's own line under the empty key.
fn dump(netns: &NetnsGuard) -> BTreeMap<String, String> {
    let mut command = Command::new("wg");
    command.args(["show", "wg0", "dump"]);
    let output = netns.command(command, &[]).unwrap().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let own = lines.next().unwrap().to_owned();
    let peers = lines
        .map(|line| line.split_once('\t').unwrap())
        .map(|(key, rest)| (key.to_owned(), rest.to_owned()));
    peers.chain([(String::new(), own)]).collect()
}

/// A peer's line as `wg show wg0 dump` prints it before any traffic.
fn expected(peer: &PeerConfig) -> String {
    let psk = peer
        .preshared_key
        .as_ref()
        .map_or("(none)".to_owned(), PresharedKey::to_base64);
    let allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    let keepalive = peer
        .persistent_keepalive
        .map_or("off".to_owned(), |seconds| seconds.to_string());
    format!("{psk}\t(none)\t{}\t0\t0\t0\t{keepalive}", allowed.join(","))
}

fn many_peers(count: u32) {
    let test = format!("{count}_peers_are_set_read_and_changed");
    let Some([netns]) = namespaces(&test) else { return };
    link::create_owned_wireguard(&mut netlink(&netns), "wg0").unwrap();
    let mut wg = netns.run_in(|| Wireguard::open().unwrap()).unwrap();
    let private_key = PrivateKey::generate().unwrap();
    let mut config = DeviceConfig {
        private_key: private_key.clone(),
        listen_port: 51820,
        fwmark: 7,
        peers: (0..count).map(peer).collect(),
    };
    // Twice: the second replaces the first, whole.
    wg.set(
        "wg0",
        &DeviceConfig {
            peers: (5..20).map(peer).collect(),
            ..config.clone()
        },
    )
    .unwrap();
    let start = Instant::now();
    wg.set("wg0", &config).unwrap();
    let set = start.elapsed();
    let start = Instant::now();
    let status = wg.get("wg0").unwrap();
    let get = start.elapsed();

    assert_eq!(status.public_key, Some(private_key.public_key()));
    assert_eq!((status.listen_port, status.fwmark), (51820, 7));
    assert_eq!(status.peers.len(), config.peers.len());
    let seen: BTreeMap<_, _> = status.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    for peer in &config.peers {
        let status = seen[&peer.public_key];
        assert_eq!(
            (status.persistent_keepalive, status.endpoint),
            (peer.persistent_keepalive, None)
        );
        let allowed = |ip| status.allowed_ips.contains(ip);
        assert!(
            status.allowed_ips.len() == 2 && peer.allowed_ips.iter().all(allowed),
            "{status:?}"
        );
    }
    let before = dump(&netns);
    assert_eq!(before.len(), config.peers.len() + 1);
    assert!(
        before[""].ends_with("\t51820\t0x7"),
        "{}",
        before[""].rsplit_once('\t').unwrap().1
    );
    for peer in &config.peers {
        let mut peer = peer.clone();
        // The kernel lists the allowed IPs in its own order.
        let line = &before[&peer.public_key.to_string()];
        if *line != expected(&peer) {
            peer.allowed_ips.reverse();
        }
        assert_eq!(*line, expected(&peer));
    }

    // One peer changes, one goes, one comes.
    config.peers[3].preshared_key = Some(PresharedKey([5; 32]));
    config.peers[3].persistent_keepalive = None;
    config.peers[3].allowed_ips = vec!["172.16.0.0/24".parse().unwrap()];
    let changes = [
        PeerChange::Remove(config.peers[4].public_key),
        PeerChange::Set(config.peers[3].clone()),
        PeerChange::Set(peer(count)),
    ];
    let start = Instant::now();
    wg.apply("wg0", &changes).unwrap();
    println!("{count} peers: set {set:?}, get {get:?}, three changes {:?}", start.elapsed());
    let mut after = dump(&netns);
    assert_eq!(
        after.remove(&config.peers[3].public_key.to_string()).unwrap(),
        expected(&config.peers[3])
    );
    assert!(after.remove(&peer(count).public_key.to_string()).is_some());
    let mut rest = before;
    rest.remove(&config.peers[3].public_key.to_string());
    rest.remove(&config.peers[4].public_key.to_string());
    assert_eq!(after, rest, "the others are as before");

    wg.set_own("wg0", &private_key, 51821, 0).unwrap();
    let status = wg.get("wg0").unwrap();
    assert_eq!(
        (status.listen_port, status.fwmark, status.peers.len()),
        (51821, 0, config.peers.len())
    );
}

#[test]
fn a_thousand_peers_are_set_read_and_changed() {
    many_peers(1_000);
}

#[test]
fn ten_thousand_peers_are_set_read_and_changed() {
    many_peers(10_000);
}

#[test]
fn a_peer_of_three_thousand_networks_is_set_and_read() {
    let Some([netns]) = namespaces("a_peer_of_three_thousand_networks_is_set_and_read") else {
        return;
    };
    link::create_owned_wireguard(&mut netlink(&netns), "wg0").unwrap();
    let mut wg = netns.run_in(|| Wireguard::open().unwrap()).unwrap();
    let networks = (0..3_000u32).map(|n| IpNet::new(IpAddr::from((0xc000_0000 + n * 256).to_be_bytes()), 24).unwrap());
    let mut big = PeerConfig {
        allowed_ips: networks.collect(),
        ..peer(1)
    };
    wg.apply("wg0", &[PeerChange::Set(big.clone())]).unwrap();
    let mut seen = wg.get("wg0").unwrap().peers.remove(0).allowed_ips;
    seen.sort();
    big.allowed_ips.sort();
    assert_eq!(seen, big.allowed_ips);
}

#[test]
fn wireguard_errors_say_what_and_how() {
    let Some([netns]) = namespaces("wireguard_errors_say_what_and_how") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let mut wg = netns.run_in(|| Wireguard::open().unwrap()).unwrap();
    assert_eq!(wg.get("absent").unwrap_err().to_string(), "there is no interface absent");
    assert!(matches!(wg.get("lo"), Err(WireguardError::NotWireguard(name)) if name == "lo"));

    let loopback = link::get(&mut netlink, "lo").unwrap();
    link::set_up(&mut netlink, &loopback, true).unwrap();
    let taken = netns.run_in(|| std::net::UdpSocket::bind("0.0.0.0:51820").unwrap()).unwrap();
    let link = link::create_owned_wireguard(&mut netlink, "wg0").unwrap();
    link::set_up(&mut netlink, &link, true).unwrap();
    let error = wg.set_own("wg0", &PrivateKey::generate().unwrap(), 51820, 0).unwrap_err();
    assert!(matches!(&error, WireguardError::PortTaken { port: 51820, .. }), "{error}");
    drop(taken);
}

#[test]
fn a_change_leaves_other_sessions_alone_and_packets_are_counted() {
    let Some([left, right]) = namespaces("a_change_leaves_other_sessions_alone_and_packets_are_counted") else {
        return;
    };
    let (left_key, right_key) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let sides = [(&left, 1, 2, &left_key, &right_key), (&right, 2, 1, &right_key, &left_key)];
    link::create_veth(&mut netlink(&left), "eth0", "eth0", Some(right.as_fd())).unwrap();
    for (netns, own, other, key, other_key) in sides {
        let mut netlink = netlink(netns);
        let cable = link::get(&mut netlink, "eth0").unwrap();
        address::add(&mut netlink, cable.index, format!("192.0.2.{own}/24").parse().unwrap()).unwrap();
        link::set_up(&mut netlink, &cable, true).unwrap();
        let tunnel = link::create_owned_wireguard(&mut netlink, "wg0").unwrap();
        address::add(&mut netlink, tunnel.index, format!("10.9.0.{own}/24").parse().unwrap()).unwrap();
        address::add(&mut netlink, tunnel.index, format!("fd09::{own}/64").parse().unwrap()).unwrap();
        let other = PeerConfig {
            public_key: other_key.public_key(),
            preshared_key: Some(PresharedKey([3; 32])),
            endpoint: Some(format!("192.0.2.{other}:51820").parse().unwrap()),
            persistent_keepalive: None,
            allowed_ips: vec![
                format!("10.9.0.{other}/32").parse().unwrap(),
                format!("fd09::{other}/128").parse().unwrap(),
            ],
        };
        let config = DeviceConfig {
            private_key: key.clone(),
            listen_port: 51820,
            fwmark: 0,
            peers: vec![other],
        };
        let mut wg = netns.run_in(|| Wireguard::open().unwrap()).unwrap();
        wg.set("wg0", &config).unwrap();
        link::set_up(&mut netlink, &tunnel, true).unwrap();
    }
    let ping = |address: &str| {
        let mut command = Command::new("ping");
        command.args(["-c", "1", "-W", "20", address]);
        let output = left.command(command, &[]).unwrap().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    ping("10.9.0.2");
    ping("fd09::2");

    let mut wg = left.run_in(|| Wireguard::open().unwrap()).unwrap();
    let before = wg.get("wg0").unwrap().peers.remove(0);
    let handshake = before.latest_handshake.expect("a handshake after a ping");
    assert!(handshake.elapsed().unwrap_or_default() < Duration::from_secs(120));
    assert!(before.rx_bytes > 0 && before.tx_bytes > 0);
    wg.apply("wg0", &[PeerChange::Set(peer(1)), PeerChange::Set(peer(2))])
        .unwrap();
    wg.apply("wg0", &[PeerChange::Remove(peer(1).public_key)]).unwrap();
    let after = wg.get("wg0").unwrap();
    assert_eq!(after.peers.len(), 2);
    let same = after.peers.iter().find(|peer| peer.public_key == before.public_key).unwrap();
    assert_eq!(
        (same.latest_handshake, same.endpoint),
        (before.latest_handshake, before.endpoint)
    );
    ping("10.9.0.2");
    assert_eq!(
        wg.get("wg0").unwrap().peers.iter().find_map(|peer| peer.latest_handshake),
        Some(handshake)
    );

    let wanted = [("10.9.0.2/32", &right_key), ("fd09::2/128", &right_key)];
    let wanted = wanted.map(|(net, key)| (net.parse().unwrap(), key.public_key())).into();
    let counting = left.run_in(|| PeerCounting::attach("wg0", Path::new("/tmp/no-bpffs"), &wanted).unwrap());
    let counting = counting.unwrap();
    let counted = || counting.counts().unwrap()[&right_key.public_key()];
    ping("10.9.0.2");
    ping("fd09::2");
    assert_eq!(counted(), PeerPackets { rx: 2, tx: 2 });
    // The driver gives what it decrypts to GRO, and is given superpackets.
    let sent = || [&left, &right].map(|netns| netns.run_in(segments_sent).unwrap());
    for (number, address) in (0..).zip(["10.9.0.1:7", "[fd09::1]:7"]) {
        let before = (sent(), counted());
        exchange(&left, &right, address);
        let after = (sent(), counted());
        let tcp = [after.0[0] - before.0[0], after.0[1] - before.0[1]];
        assert!(tcp.iter().all(|segments| *segments > 700), "{tcp:?}");
        assert_eq!([after.1.tx - before.1.tx, after.1.rx - before.1.rx], tcp, "{number}");
    }
}

/// A megabyte each way over TCP.
fn exchange(server: &NetnsGuard, client: &NetnsGuard, address: &str) {
    let listener = server.run_in(|| TcpListener::bind(address).unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut data = vec![0; 1 << 20];
            stream.read_exact(&mut data).unwrap();
            stream.write_all(&data).unwrap();
            assert_eq!(stream.read(&mut data).unwrap(), 0);
        });
        let talk = || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut data = vec![7; 1 << 20];
            stream.write_all(&data).unwrap();
            stream.read_exact(&mut data).unwrap();
        };
        client.run_in(talk).unwrap();
    });
    // What ends the connection.
    std::thread::sleep(Duration::from_secs(1));
}

/// As TCP itself counts them.
fn segments_sent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let all = names.split(' ').zip(values.split(' '));
    let counts = all.filter(|(name, _)| ["OutSegs", "RetransSegs"].contains(name));
    counts.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}
