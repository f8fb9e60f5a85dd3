//! A flood of forged handshakes from one core: a tunnel that stands carries on, and somebody new gets in.
//!
//! ```text
//!   namespace A: our device 10.8.0.1      namespace B: our device 10.8.0.2, which has a session
//!                                                      wireguard-go 10.8.0.3, which is new
//!                                                      the attacker, from 16 addresses of its own
//! ```

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{Digest as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac};
use common::devices::{PORT, config, create, dropped, peer};
use common::programs::Program;
use common::transfers::transfer;
use common::{Namespace, cable, can_run, key_file, keys, ping, raise, unique, wait_for};
use fielato_io::Device;
use fielato_wireguard::{DropReason, PublicKey};

/// What the attacker sends, as far as it can. Code that is not optimised checks fifty times fewer.
const PER_SECOND: u64 = if cfg!(debug_assertions) { 2_000 } else { 100_000 };

/// The time that a legitimate handshake may take. Who is answered with a cookie begins anew after more than that
/// (REKEY_TIMEOUT, the paper's section 6.1), so its first initiation must do: it is from an address that has its share left.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Datagrams from every source between looks at the clock.
const BURST: usize = 16;

/// Handshake initiations whose sender knows our public key, and nothing else that is right: random but for type and mac1
/// (the paper's section 5.4.4).
fn forged(to: PublicKey, count: u64) -> Vec<Vec<u8>> {
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(to.0).finalize();
    // Splitmix64; any bytes will do.
    let mut state: u64 = 1;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let mut one = || {
        let mut message = vec![1, 0, 0, 0];
        (0..14).for_each(|_| message.extend(random()));
        let mac = Blake2sMac::<U16>::new_from_slice(&key).unwrap().chain_update(&message);
        message.extend(mac.finalize().into_bytes());
        message.extend([0; 16]);
        message
    };
    (0..count).map(|_| one()).collect()
}

/// Sends until `done`; returns how many a second.
fn flood(namespace: &Namespace, messages: &[Vec<u8>], done: &AtomicBool, sent: &AtomicU64) -> u64 {
    let sockets: Vec<UdpSocket> = namespace.within(|| {
        let bind = |host: u8| UdpSocket::bind((Ipv4Addr::new(10, 9, 0, host), 0)).unwrap();
        (100..116).map(bind).collect()
    });
    let to = SocketAddr::from(([10, 9, 0, 1], PORT));
    let begun = Instant::now();
    let mut pairs = messages.iter().zip(sockets.iter().cycle()).cycle();
    // Bounded, in case that nobody says it is done.
    while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60) {
        let due = begun.elapsed().as_millis() as u64 * PER_SECOND / 1000;
        let behind = due.saturating_sub(sent.load(Ordering::Relaxed));
        if behind < BURST as u64 {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        for (message, socket) in pairs.by_ref().take(BURST) {
            // A full queue on the way is the attacker's loss.
            let _ = socket.send_to(message, to);
        }
        sent.fetch_add(BURST as u64, Ordering::Relaxed);
    }
    sent.load(Ordering::Relaxed) * 1000 / begun.elapsed().as_millis().max(1) as u64
}

/// Handshakes that were refused because there were too many, by name: under load or over their source's rate.
fn refused(device: &Device) -> u64 {
    let refusals = ["under-load", "rate-limited"];
    let counted = device.drops().into_iter();
    counted
        .filter(|(reason, _)| refusals.contains(&reason.name()))
        .map(|(_, packets)| packets)
        .sum()
}

/// A transfer each way by the tunnel that stands; Mbit/s.
fn both_ways(a: &Namespace, b: &Namespace) -> u64 {
    let begun = Instant::now();
    let bytes = 16 << 20;
    transfer(b, a, IpAddr::from([10, 8, 0, 1]), bytes);
    transfer(a, b, IpAddr::from([10, 8, 0, 2]), bytes);
    2 * bytes * 8 / begun.elapsed().as_micros().max(1) as u64
}

#[test]
fn tunnels_carry_on_and_a_new_peer_gets_in() {
    let test = "tunnels_carry_on_and_a_new_peer_gets_in";
    if !can_run(test) || !fielato_testkit::need(test, "wireguard-go") {
        return;
    }
    let (a, b) = cable();
    (100..116).for_each(|host| drop(b.run(&format!("ip addr add 10.9.0.{host}/24 dev v0"))));
    let ((a_key, a_public), (old_key, old_public), (new_key, new_public)) = (keys(), keys(), keys());
    let peers = vec![peer(old_public, 2, None), peer(new_public, 3, None)];
    let (device, a_name) = create(&a, &config(&a_key, peers));
    raise(&a, &a_name, 1);
    let (_old, old_name) = create(&b, &config(&old_key, vec![peer(a_public, 1, Some("10.9.0.1:51820"))]));
    raise(&b, &old_name, 2);
    assert!(ping(&b, "10.8.0.1"));

    let quiet = both_ways(&a, &b);
    let messages = forged(a_public, 4096);
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| flood(&b, &messages, &done, &sent));
        // When something below fails, the attacker must end before this scope does.
        let _done = Done(&done);
        wait_for("refused handshakes", || refused(&device) > 1000);

        // The tunnel that stands, both ways.
        let carried = scope.spawn(|| both_ways(&a, &b));

        // Somebody new, meanwhile.
        let new_name = unique("g");
        let _go = Program::wireguard_go(&b, &new_name);
        let key = key_file(&new_key.to_base64());
        b.run(&format!("ip link set {new_name} up"));
        let begun = Instant::now();
        b.run(&format!(
            "wg set {new_name} private-key {} peer {a_public} endpoint 10.9.0.1:51820 persistent-keepalive 1 \
             allowed-ips 10.8.0.1/32",
            key.path().display()
        ));
        let is_new = |key: PublicKey| move |peer: &&fielato_wireguard::PeerStatus| peer.public_key == key;
        let joined = || {
            let status = device.status();
            status
                .peers
                .iter()
                .find(is_new(new_public))
                .unwrap()
                .latest_handshake
                .is_some()
        };
        while !joined() {
            assert!(begun.elapsed() < HANDSHAKE_LIMIT, "no handshake within {HANDSHAKE_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("a new peer got in after {:.1} s", begun.elapsed().as_secs_f64());
        let speed = carried.join().unwrap();
        let before = refused(&device);
        done.store(true, Ordering::Relaxed);
        let rate = attacker.join().unwrap();
        eprintln!(
            "{rate} forged handshakes a second, {before} refused; the tunnel carried {speed} Mbit/s, and {quiet} before \
             ({} %; attacker and both ends share the machine)",
            speed * 100 / quiet.max(1)
        );
    });
    // All of them knew our public key, and were counted as what they were.
    assert_eq!(dropped(&device, DropReason::BadMac), 0);
    assert_eq!(dropped(&device, DropReason::UnknownPeer), 0);
    // It is over: nobody is refused for long.
    assert!(ping(&b, "10.8.0.1"));
}

/// Ends the attacker on a panic too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
