//! Packets of each peer, counted at an interface, in namespaces of our own.
//!
//! ```text
//!   ours: wire 10.0.0.1/24, fd00::1/64  ───  second: wire, the peers' addresses
//! ```
// For the namespaces of the guard's tests.
#![allow(unsafe_code)]

// The guard's tests use all of it.
#[path = "guard/namespace.rs"]
#[allow(dead_code)]
mod namespace;
#[path = "guard/packet.rs"]
#[allow(dead_code)]
mod packet;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use fielato_kernel::peer_packets::{CountError, PeerCounting, Wanted};
use fielato_wireguard::{PeerPackets, PublicKey};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use namespace::{Bpffs, in_namespace, in_second, needs_root, second};

const WIRE: &str = "wire";

fn sh(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn connect(addresses: &[&str]) {
    sh(&format!("ip link add {WIRE} type veth peer name {WIRE} netns {}", second()));
    sh(&format!(
        "ip addr add 10.0.0.1/24 dev {WIRE}; ip addr add fd00::1/64 dev {WIRE} nodad; ip link set {WIRE} up; \
         ip route add 10.1.0.0/16 dev {WIRE}; ip route add fd01::/64 dev {WIRE}"
    ));
    in_second(|| {
        sh(&format!("ip link set {WIRE} up"));
        for address in addresses {
            sh(&format!(
                "ip addr add {address} dev {WIRE} $(case {address} in *:*) echo nodad;; esac)"
            ));
        }
    });
}

fn ping(address: &str, count: u32) {
    sh(&format!("ping -q -c {count} -i 0.01 {address}"));
}

fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

fn wanted(all: &[(&str, u8)]) -> Wanted {
    all.iter().map(|(net, peer)| (net.parse().unwrap(), key(*peer))).collect()
}

fn of(counting: &PeerCounting, peer: u8) -> Option<(u64, u64)> {
    let counts = counting.counts().unwrap();
    counts.get(&key(peer)).map(|PeerPackets { rx, tx }| (*rx, *tx))
}

#[test]
fn each_packet_counts_for_its_peer() {
    if needs_root("each_packet_counts_for_its_peer") {
        return;
    }
    in_namespace(|| {
        connect(&["10.0.0.2/24", "10.0.0.3/24", "10.1.2.3/16", "fd00::2/64", "fd01::77/64"]);
        let all = [
            ("10.0.0.2/32", 2),
            ("fd00::2/128", 2),
            ("10.0.0.3/32", 3),
            ("10.1.0.0/16", 4),
            ("fd01::/64", 4),
        ];
        let nowhere = Path::new("/tmp/no-bpffs");
        let mut counting = PeerCounting::attach(WIRE, nowhere, &wanted(&all)).unwrap();
        assert!(!counting.is_pinned());
        // Neighbours are asked for by ICMPv6: only echoes shall count.
        let neighbours = |address: &str| ping(address, 1);
        ["fd00::2", "fd01::77"].iter().for_each(|address| neighbours(address));
        let before: Vec<_> = (2..5).map(|peer| of(&counting, peer).unwrap()).collect();
        ping("10.0.0.2", 7);
        ping("fd00::2", 5);
        ping("10.0.0.3", 3);
        ping("10.1.2.3", 2);
        ping("fd01::77", 1);
        let grown = |peer: u8| {
            let (rx, tx) = of(&counting, peer).unwrap();
            let before = before[usize::from(peer) - 2];
            (rx - before.0, tx - before.1)
        };
        assert_eq!([grown(2), grown(3), grown(4)], [(12, 12), (3, 3), (3, 3)]);

        // A host within another's network, whom its owner loses again; and one who goes.
        counting.extend(&wanted(&[("10.1.2.3/32", 5)])).unwrap();
        ping("10.1.2.3", 4);
        assert_eq!(
            (of(&counting, 5), of(&counting, 4).unwrap().0),
            (Some((4, 4)), before[2].0 + 3)
        );
        counting.retain(&wanted(&all[..4])).unwrap();
        assert_eq!(of(&counting, 5), None);
        ping("10.1.2.3", 1);
        assert_eq!(of(&counting, 4).unwrap().0, before[2].0 + 4);
        counting.retain(&wanted(&all[..2])).unwrap();
        ping("10.0.0.3", 1);
        assert_eq!(counting.counts().unwrap().len(), 1);
        // One who comes back begins at nothing.
        counting.extend(&wanted(&all[..3])).unwrap();
        assert_eq!(of(&counting, 3), Some((0, 0)));
    });
}

/// Segments sent, as TCP itself counts them: what it hands the interface are superpackets.
fn segments() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let value = |wanted: &str| {
        let mut all = names.split(' ').zip(values.split(' '));
        all.find(|(name, _)| *name == wanted).unwrap().1.parse::<u64>().unwrap()
    };
    value("OutSegs") + value("RetransSegs")
}

#[test]
fn a_superpacket_is_as_many_as_it_stands_for() {
    if needs_root("a_superpacket_is_as_many_as_it_stands_for") {
        return;
    }
    in_namespace(|| {
        connect(&["10.0.0.2/24", "fd00::2/64"]);
        let everything = wanted(&[("10.0.0.2/32", 2), ("fd00::2/128", 2)]);
        let counting = PeerCounting::attach(WIRE, Path::new("/tmp/no-bpffs"), &everything).unwrap();
        for (address, there) in [("10.0.0.1:7", "10.0.0.2"), ("[fd00::1]:7", "fd00::2")] {
            ping(there, 1);
            let sent = || {
                let mut there = 0;
                in_second(|| there = segments());
                (there, segments())
            };
            let (sent_before, before) = (sent(), of(&counting, 2).unwrap());
            let listener = TcpListener::bind(address).unwrap();
            let done = Barrier::new(2);
            std::thread::scope(|scope| {
                // A megabyte each way.
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut got = vec![0; 1 << 20];
                    stream.read_exact(&mut got).unwrap();
                    stream.write_all(&got).unwrap();
                    // Closed by the other side first.
                    assert_eq!(stream.read(&mut got).unwrap(), 0);
                    done.wait();
                });
                in_second(|| {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let mut data = vec![7; 1 << 20];
                    stream.write_all(&data).unwrap();
                    stream.read_exact(&mut data).unwrap();
                    drop(stream);
                    done.wait();
                });
            });
            std::thread::sleep(std::time::Duration::from_millis(300));
            let (sent_after, after) = (sent(), of(&counting, 2).unwrap());
            let by_tcp = (sent_after.0 - sent_before.0, sent_after.1 - sent_before.1);
            let counted = (after.0 - before.0, after.1 - before.1);
            assert!(by_tcp.0 > 700 && by_tcp.1 > 700, "{by_tcp:?}");
            match address.contains('[') {
                false => assert_eq!(counted, by_tcp),
                // The neighbours may ask for each other meanwhile.
                true => {
                    assert!(
                        counted.0 - by_tcp.0 <= 3 && counted.1 - by_tcp.1 <= 3,
                        "{counted:?} {by_tcp:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn what_is_pinned_goes_on() {
    if needs_root("what_is_pinned_goes_on") {
        return;
    }
    in_namespace(|| {
        connect(&["10.0.0.2/24", "10.0.0.3/24"]);
        let bpffs = Bpffs::mount();
        let pin = bpffs.path().join("fielato/packets");
        let both = wanted(&[("10.0.0.2/32", 2), ("10.0.0.3/32", 3)]);
        let counting = PeerCounting::attach(WIRE, &pin, &both).unwrap();
        let life = counting.life();
        assert!(counting.is_pinned());
        ping("10.0.0.2", 2);
        drop(counting);
        // Nobody is there, and it counts on.
        ping("10.0.0.2", 3);
        ping("10.0.0.3", 1);
        let counting = PeerCounting::attach(WIRE, &pin, &wanted(&[("10.0.0.2/32", 2)])).unwrap();
        assert_eq!(counting.life(), life);
        ping("10.0.0.2", 1);
        assert_eq!(
            (of(&counting, 2), of(&counting, 3)),
            (Some((6, 6)), None),
            "once each, by one program"
        );
        drop(counting);

        assert!(PeerCounting::remove_pin(&pin).unwrap());
        assert!(!PeerCounting::remove_pin(&pin).unwrap());
        let counting = PeerCounting::attach(WIRE, &pin, &both).unwrap();
        assert_ne!(counting.life(), life);
        assert_eq!(of(&counting, 2), Some((0, 0)));
    });
}

/// What the unit gives the daemon.
#[test]
fn two_capabilities_are_enough() {
    if needs_root("two_capabilities_are_enough") {
        return;
    }
    in_namespace(|| {
        connect(&["10.0.0.2/24"]);
        let bpffs = Bpffs::mount();
        let pin = bpffs.path().join("packets");
        let both = CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
        let sets = CapabilitySets {
            effective: both,
            permitted: both,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).unwrap();
        // Linux 6.1 refuses it, 6.18 does not.
        if let Err(CountError::NotPermitted(error)) = PeerCounting::attach(WIRE, &pin, &Wanted::new()) {
            fielato_testkit::skip("two_capabilities_are_enough", &format!("this kernel wants more: {error}"));
            return;
        }
        for round in 0..2 {
            let mut counting = PeerCounting::attach(WIRE, &pin, &wanted(&[("10.0.0.2/32", 2), ("10.7.0.0/16", 3)])).unwrap();
            ping("10.0.0.2", 2);
            assert_eq!(of(&counting, 2), Some((2 + 2 * round, 2 + 2 * round)));
            counting.retain(&wanted(&[("10.0.0.2/32", 2)])).unwrap();
        }
        set_capabilities(
            None,
            CapabilitySets {
                effective: CapabilitySet::NET_ADMIN,
                permitted: CapabilitySet::NET_ADMIN,
                inheritable: CapabilitySet::empty(),
            },
        )
        .unwrap();
        let refused = PeerCounting::attach(WIRE, &pin, &Wanted::new()).err().unwrap();
        assert!(matches!(refused, CountError::NotPermitted(_)), "{refused}");
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    if needs_root("an_interface_that_is_not_there_is_named") {
        return;
    }
    in_namespace(|| {
        let error = PeerCounting::attach("nowhere", Path::new("/tmp/no-bpffs"), &Wanted::new())
            .err()
            .unwrap();
        assert!(error.to_string().contains("nowhere"), "{error}");
    });
}
