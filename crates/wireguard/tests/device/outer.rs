//! What datagrams look like from outside: TOS octets and lengths.

use crate::net::{A, B, COOKIE, Case, DATA, MTU, Net, set_checksum};

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

fn set_tos(packet: &mut [u8], tos: u8) {
    if packet[0] >> 4 == 6 {
        packet[0] = 0x60 | tos >> 4;
        packet[1] = packet[1] & 15 | tos << 4;
    } else {
        packet[1] = tos;
        set_checksum(packet);
    }
}

/// RFC 6040 section 4.1, compatibility mode for CE, as Linux does it; the DSCP is nobody's business outside.
#[test]
fn ecn_is_shown_outside_and_dscp_is_not() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        for dscp in [0, 0x88, 0xb8, 0xfc] {
            for (inner, outer) in [(NOT_ECT, NOT_ECT), (ECT_1, ECT_1), (ECT_0, ECT_0), (CE, ECT_0)] {
                let mut packet = net.packet(A, B, 10, 1);
                set_tos(&mut packet, dscp | inner);
                net.take_log();
                net.tun(A, &packet);
                assert_eq!(net.log[0].tos, outer, "{case:?}, inner {dscp:#x} | {inner}");
                net.settle();
                assert_eq!(net.take(B), [packet], "and inside nothing changes");
            }
        }
    }
}

/// What waits for a handshake, too.
#[test]
fn packets_that_waited_show_their_ecn() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        for ecn in 0..4 {
            let mut packet = net.packet(A, B, 10, 1);
            set_tos(&mut packet, ecn);
            net.tun(A, &packet);
        }
        net.settle();
        let data = net.log.iter().filter(|datagram| datagram.kind() == DATA);
        assert_eq!(
            data.map(|datagram| datagram.tos).collect::<Vec<_>>(),
            [NOT_ECT, ECT_1, ECT_0, ECT_0]
        );
    }
}

/// RFC 6040 section 4.2 as Linux' driver has it: CE outside becomes CE inside where the packet's ends speak ECN.
#[test]
fn congestion_outside_is_told_inside() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let from = net.nodes[A].address;
        for dscp in [0, 0xb8] {
            for outer_dscp in [0, 0x88] {
                for inner in [NOT_ECT, ECT_1, ECT_0, CE] {
                    for outer in [NOT_ECT, ECT_1, ECT_0, CE] {
                        let mut packet = net.packet(A, B, 21, 1);
                        set_tos(&mut packet, dscp | inner);
                        let sealed = net.seal(A, &packet);
                        let told = if outer == CE && inner != NOT_ECT { CE } else { inner };
                        // With the right checksum, too.
                        set_tos(&mut packet, dscp | told);
                        let arrived = net.udp_with_tos(B, from, outer_dscp | outer, &sealed);
                        assert_eq!(arrived, Some(packet), "{case:?}, inner {inner}, outer {outer}");
                    }
                }
            }
        }
    }
}

/// Handshakes have DSCP AF41 (the driver's `HANDSHAKE_DSCP`), keepalives and cookies nothing.
#[test]
fn handshakes_are_urgent() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        net.change(A, B, |peer| peer.persistent_keepalive = Some(5));
        net.run(crate::net::seconds(7));
        assert!(net.log.len() >= 4);
        for datagram in &net.log {
            assert_ne!(datagram.kind(), COOKIE);
            let tos = if datagram.kind() == DATA { 0 } else { 0x88 };
            assert_eq!(datagram.tos, tos, "type {}", datagram.kind());
        }
    }
}

#[test]
fn packets_are_padded_to_16_and_not_beyond_the_mtu() {
    for case in Case::all() {
        let header = if case.v6 { 40 } else { 20 };
        // Both where packets wait and where they don't.
        for waits in [false, true] {
            for (len, padded) in [
                (48, 48),
                (49, 64),
                (63, 64),
                (64, 64),
                (1400, 1408),
                (1408, 1408),
                (1416, 1420),
                (1420, 1420),
            ] {
                let mut net = if waits { Net::pair(case) } else { Net::joined(case) };
                let packet = net.packet(A, B, len - header, 1);
                net.tun(A, &packet);
                net.settle();
                let data = net.log.iter().find(|datagram| datagram.kind() == DATA).unwrap();
                assert_eq!(data.bytes.len(), padded + 32, "packet of {len} bytes");
                assert_eq!(net.take(B), [packet], "without the padding");
            }
        }
        let mut net = Net::joined(case);
        net.nodes[A].device.set_mtu(1280);
        let packet = net.packet(A, B, 1275 - header, 1);
        assert_eq!(net.seal(A, &packet).len(), 1280 + 32);
        net.nodes[A].device.set_mtu(MTU);
        assert_eq!(net.seal(A, &packet).len(), 1280 + 32);
    }
}
