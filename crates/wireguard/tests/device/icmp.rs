//! What the device tells the senders of packets that it cannot send.

use fielato_wire::{Addr, checksum, number};
use fielato_wireguard::DropReason;

use crate::net::{A, B, Case, MTU, Net, millis, packet, seconds, set_checksum};

/// An error that the device wrote: checked as to lengths and checksums, and taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Error {
    source: String,
    destination: String,
    kind: u8,
    code: u8,
    rest: u32,
    quoted: Vec<u8>,
}

fn read(error: &[u8]) -> Error {
    let v6 = error[0] >> 4 == 6;
    let (header, source, destination) = if v6 {
        let address = |at: usize| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&error[at..at + 16]).unwrap());
        assert_eq!(usize::from(error[4]) << 8 | usize::from(error[5]), error.len() - 40);
        assert_eq!((error[6], error[7]), (number::ICMPV6, 64));
        assert!(error.len() <= 1280);
        let (from, to) = (Addr::v6(address(8)), Addr::v6(address(24)));
        assert_eq!(checksum::transport(from, to, number::ICMPV6, &error[40..]), 0);
        (40, address(8).to_string(), address(24).to_string())
    } else {
        let address = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&error[at..at + 4]).unwrap());
        assert_eq!(error[0], 0x45);
        assert_eq!(usize::from(error[2]) << 8 | usize::from(error[3]), error.len());
        assert_eq!((error[8], error[9]), (64, number::ICMP));
        assert!(error.len() <= 576);
        assert_eq!((checksum::checksum(&error[..20]), checksum::checksum(&error[20..])), (0, 0));
        (20, address(12).to_string(), address(16).to_string())
    };
    Error {
        source,
        destination,
        kind: error[header],
        code: error[header + 1],
        rest: u32::from_be_bytes(error[header + 4..header + 8].try_into().unwrap()),
        quoted: error[header + 8..].to_vec(),
    }
}

fn told(net: &mut Net, packet: &[u8]) -> Option<Error> {
    net.tun(A, packet);
    // Fewer than the limit.
    net.run(millis(10));
    let mut errors = std::mem::take(&mut net.nodes[A].errors);
    assert!(errors.len() <= 1);
    errors.pop().map(|error| read(&error))
}

#[test]
fn who_sends_where_no_peer_is_hears_host_unreachable() {
    let cases = [(false, "10.0.0.1", "10.9.9.9", 3, 1), (true, "fd00::1", "fd09::9", 1, 3)];
    for (v6, source, destination, kind, code) in cases {
        for has_peer in [false, true] {
            let mut net = Net::joined(Case { v6, psk: false });
            let destination = if has_peer {
                // A peer of which nobody knows where it is.
                let c = net.add();
                net.change(A, c, |peer| peer.endpoint = None);
                if v6 { "fd00::3" } else { "10.0.0.3" }
            } else {
                destination
            };
            for len in [0, 1, 100, 1300] {
                let packet = packet(source, destination, &vec![7; len]);
                let most = if v6 { 1280 - 48 } else { 576 - 28 };
                let expected = Error {
                    source: destination.to_string(),
                    destination: source.to_string(),
                    kind,
                    code,
                    rest: 0,
                    quoted: packet[..packet.len().min(most)].to_vec(),
                };
                assert_eq!(told(&mut net, &packet), Some(expected), "{len} bytes");
            }
            let reason = if has_peer {
                DropReason::NoEndpoint
            } else {
                DropReason::NoPeerForDestination
            };
            assert_eq!(net.drops(A), [(reason, 4)]);
        }
    }
}

#[test]
fn who_sends_too_much_at_once_hears_the_mtu() {
    let mut net = Net::joined(Case::V4);
    let mut big = packet("10.0.0.1", "10.0.0.2", &[1; MTU - 20 + 1]);
    assert_eq!(told(&mut net, &big), None, "who allows fragments did not ask");
    big[6] = 0x40;
    set_checksum(&mut big);
    let error = told(&mut net, &big).unwrap();
    assert_eq!((error.kind, error.code, error.rest), (3, 4, MTU as u32));
    assert_eq!(error.quoted, big[..548]);
    let big = packet("fd00::1", "fd00::2", &[1; MTU - 40 + 1]);
    let error = told(&mut net, &big).unwrap();
    assert_eq!((error.kind, error.code, error.rest), (2, 0, MTU as u32));
    assert_eq!(error.quoted, big[..1232]);
    assert_eq!(net.drops(A), [(DropReason::PacketTooBig, 3)]);
    // The largest that fits.
    let fits = packet("fd00::1", "fd00::2", &[1; MTU - 40]);
    assert_eq!(told(&mut net, &fits), None);
    net.settle();
    assert_eq!(net.take(B), [fits]);
    // A new MTU is told at once.
    net.nodes[A].device.set_mtu(1280);
    assert_eq!(told(&mut net, &big).map(|error| error.rest), Some(1280));
}

#[test]
fn errors_are_not_told_about_errors_fragments_and_groups() {
    let mut net = Net::joined(Case::V4);
    let icmp = |source: &str, destination: &str, kind: u8| {
        let mut packet = packet(source, destination, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        if source.contains(':') {
            packet[6] = number::ICMPV6;
        } else {
            packet[9] = number::ICMP;
            set_checksum(&mut packet);
        }
        packet
    };
    let (v4, v6) = (("10.0.0.1", "10.9.9.9"), ("fd00::1", "fd09::9"));
    for (kind, answered) in [
        (0, true),
        (8, true),
        (13, true),
        (3, false),
        (4, false),
        (5, false),
        (11, false),
        (12, false),
    ] {
        assert_eq!(
            told(&mut net, &icmp(v4.0, v4.1, kind)).is_some(),
            answered,
            "ICMP type {kind}"
        );
    }
    for (kind, answered) in [
        (128, true),
        (129, true),
        (1, false),
        (2, false),
        (3, false),
        (4, false),
        (100, false),
    ] {
        assert_eq!(
            told(&mut net, &icmp(v6.0, v6.1, kind)).is_some(),
            answered,
            "ICMPv6 type {kind}"
        );
    }
    let addresses = [
        ("10.0.0.1", "224.0.0.1"),
        ("10.0.0.1", "255.255.255.255"),
        ("224.0.0.1", "10.9.9.9"),
        ("0.0.0.0", "10.9.9.9"),
        ("127.0.0.1", "10.9.9.9"),
        ("fd00::1", "ff02::1"),
        ("ff02::1", "fd09::9"),
        ("::", "fd09::9"),
    ];
    for (source, destination) in addresses {
        assert_eq!(
            told(&mut net, &packet(source, destination, b"body")),
            None,
            "{source} to {destination}"
        );
    }
    let mut fragment = packet("10.0.0.1", "10.9.9.9", b"body");
    fragment[7] = 1;
    set_checksum(&mut fragment);
    assert_eq!(told(&mut net, &fragment), None, "a later fragment");
    fragment[6..8].copy_from_slice(&[0x20, 0]);
    set_checksum(&mut fragment);
    assert!(told(&mut net, &fragment).is_some(), "the first fragment");
}

/// As Linux' `icmp_msgs_per_sec` and `icmp_msgs_burst`: 1,000 a second, 50 at once.
#[test]
fn errors_are_limited() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let nowhere = net.packet(A, 98, 10, 1);
        for _ in 0..1000 {
            net.tun(A, &nowhere);
        }
        assert_eq!(std::mem::take(&mut net.nodes[A].errors).len(), 50);
        net.run(millis(20));
        for _ in 0..1000 {
            net.tun(A, &nowhere);
        }
        assert_eq!(std::mem::take(&mut net.nodes[A].errors).len(), 20);
        for _ in 0..10_000 {
            net.tun(A, &nowhere);
            net.now += std::time::Duration::from_micros(100);
        }
        let errors = std::mem::take(&mut net.nodes[A].errors).len();
        assert!((999..=1001).contains(&errors), "{errors}");
        net.run(seconds(100));
        for _ in 0..1000 {
            net.tun(A, &nowhere);
        }
        assert_eq!(net.nodes[A].errors.len(), 50);
        assert_eq!(net.drops(A), [(DropReason::NoPeerForDestination, 13_000)]);
    }
}
