//! Datagrams that are wrong in one way each: counted under their reason, and nothing else changes.

use std::net::SocketAddr;

use fielato_wireguard::{DeviceStatus, DropReason};

use crate::net::{A, B, Case, Link, MTU, Net, millis, packet, seconds, set_checksum};

/// What a datagram that is refused must leave as it is.
fn state(net: &mut Net) -> (DeviceStatus, fielato_wireguard::shard::Usage, usize, usize) {
    (net.status(B), net.usage(B), net.log.len(), net.nodes[B].inbox.len())
}

/// B refuses the datagram for this reason, and is else as before.
fn refused(net: &mut Net, from: SocketAddr, datagram: &[u8], reason: DropReason) {
    let (before, drops) = (state(net), net.drops(B));
    assert_eq!(net.udp(B, from, datagram), None);
    assert_eq!(state(net), before, "{reason}");
    let counts = |drops: &[(DropReason, u64)]| drops.iter().map(|(_, count)| count).sum::<u64>();
    let after = net.drops(B);
    assert_eq!(counts(&after), counts(&drops) + 1, "{reason}: {after:?}");
    let count = |drops: &[(DropReason, u64)]| {
        drops
            .iter()
            .find(|(other, _)| *other == reason)
            .map_or(0, |(_, count)| *count)
    };
    assert_eq!(count(&after), count(&drops) + 1, "{reason}, not {after:?}");
}

#[test]
fn what_is_no_message_is_malformed() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let from = net.nodes[A].address;
        let packet = net.packet(A, B, 10, 1);
        let data = net.seal(A, &packet);
        for garbage in [
            &b""[..],
            b"x",
            &[0; 148],
            &[5; 92],
            &[1; 148],
            &[4, 0, 0, 0, 0, 0],
            &data[..31],
            &[0xff; 65_535],
        ] {
            refused(&mut net, from, garbage, DropReason::Malformed);
        }
        for at in 1..4 {
            let mut reserved = data.clone();
            reserved[at] = 1;
            refused(&mut net, from, &reserved, DropReason::Malformed);
        }
        for (kind, len) in [(1, 147), (1, 149), (2, 91), (2, 93), (3, 63), (3, 65)] {
            let mut message = vec![0; len];
            message[0] = kind;
            refused(&mut net, from, &message, DropReason::Malformed);
        }
    }
}

#[test]
fn messages_of_a_session_that_are_wrong() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let from = net.nodes[A].address;
        let elsewhere = net.elsewhere();
        let packet = net.packet(A, B, 100, 1);
        let data = net.seal(A, &packet);

        for len in [32, 33, 48, data.len() - 1] {
            refused(&mut net, elsewhere, &data[..len], DropReason::NotAuthentic);
        }
        let mut longer = data.clone();
        longer.extend([0; 16]);
        refused(&mut net, elsewhere, &longer, DropReason::NotAuthentic);
        for at in [9, 12, 16, 40, data.len() - 16, data.len() - 1] {
            let mut damaged = data.clone();
            damaged[at] ^= 1;
            refused(&mut net, elsewhere, &damaged, DropReason::NotAuthentic);
        }
        let mut huge = data.clone();
        huge.resize(65_507, 0);
        refused(&mut net, elsewhere, &huge, DropReason::NotAuthentic);
        let mut elsewhere_index = data.clone();
        elsewhere_index[5] ^= 1;
        refused(&mut net, elsewhere, &elsewhere_index, DropReason::UnknownIndex);
        // The last counters are never valid (paper, section 6.4, Reject-After-Messages).
        for counter in [u64::MAX, u64::MAX - (1 << 13)] {
            let mut last = data.clone();
            last[8..16].copy_from_slice(&counter.to_le_bytes());
            refused(&mut net, elsewhere, &last, DropReason::Replayed);
        }
        assert_eq!(net.udp(B, from, &data), Some(packet));
        refused(&mut net, elsewhere, &data, DropReason::Replayed);
    }
}

/// Keys of another session: a third device's messages with this session's number on them.
#[test]
fn messages_of_another_session() {
    let mut net = Net::joined(Case::V4);
    let c = net.add();
    net.introduce(B, c);
    let first = net.packet(c, B, 4, 0);
    net.tun(c, &first);
    net.settle();
    assert_eq!(net.take(B), [first]);
    let (mine, theirs) = (net.packet(A, B, 10, 1), net.packet(c, B, 10, 1));
    let (mine, mut theirs) = (net.seal(A, &mine), net.seal(c, &theirs));
    theirs[4..8].copy_from_slice(&mine[4..8]);
    let from = net.nodes[c].address;
    refused(&mut net, from, &theirs, DropReason::NotAuthentic);
}

#[test]
fn handshake_messages_that_are_wrong() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let elsewhere = net.elsewhere();
        net.link = Link::CUT;
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        let initiation = net.log[0].bytes.clone();
        for at in [4, 10, 50, 100, 120] {
            let mut damaged = initiation.clone();
            damaged[at] ^= 1;
            refused(&mut net, elsewhere, &damaged, DropReason::BadMac);
        }
        let key = net.nodes[B].key.public_key();
        for (at, reason) in [
            (10, DropReason::NotAuthentic),
            (50, DropReason::NotAuthentic),
            (100, DropReason::NotAuthentic),
        ] {
            let mut damaged = initiation.clone();
            damaged[at] ^= 1;
            crate::cookies::sign(&mut damaged, &key);
            refused(&mut net, elsewhere, &damaged, reason);
        }
        // A point of low order in place of the ephemeral key.
        let mut low_order = initiation.clone();
        low_order[8..40].fill(0);
        crate::cookies::sign(&mut low_order, &key);
        refused(&mut net, elsewhere, &low_order, DropReason::NotAuthentic);
        // A response and a cookie that nobody asked for.
        for len in [92, 64] {
            let mut message = vec![0; len];
            message[0] = if len == 92 { 2 } else { 3 };
            refused(&mut net, elsewhere, &message, DropReason::UnknownIndex);
        }
        let home = net.nodes[A].address;
        net.udp(B, home, &initiation);
        assert_eq!(net.log.len(), 2, "the true one still passes");
        // Its number is a session's, and not a handshake's.
        let mut response = net.log[1].bytes.clone();
        let number: [u8; 4] = response[4..8].try_into().unwrap();
        response[8..12].copy_from_slice(&number);
        crate::cookies::sign(&mut response, &key);
        refused(&mut net, elsewhere, &response, DropReason::Unexpected);
    }
}

/// Wrong responses don't keep the right one from being read, and are not read without end.
#[test]
fn wrong_responses() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        net.link = Link::CUT;
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        let (home_a, home_b, elsewhere) = (net.nodes[A].address, net.nodes[B].address, net.elsewhere());
        let initiation = net.log[0].bytes.clone();
        net.udp(B, home_a, &initiation);
        let response = net.log[1].bytes.clone();
        let mut damaged = response.clone();
        damaged[20] ^= 1;
        net.udp(A, elsewhere, &damaged);
        assert_eq!(net.drops(A), [(DropReason::BadMac, 1)]);
        let key = net.nodes[A].key.public_key();
        crate::cookies::sign(&mut damaged, &key);
        for _ in 0..5 {
            net.udp(A, elsewhere, &damaged);
        }
        assert_eq!(net.dropped(A, DropReason::NotAuthentic), 5);
        assert_eq!(net.endpoint(A, B), Some(home_b));
        net.udp(A, home_b, &response);
        assert!(net.peer_status(A, B).latest_handshake.is_some());

        // Again, with more of them than are looked at.
        let mut net = Net::pair(case);
        net.link = Link::CUT;
        net.tun(A, &packet);
        let initiation = net.log[0].bytes.clone();
        net.udp(B, home_a, &initiation);
        let response = net.log[1].bytes.clone();
        let mut damaged = response.clone();
        damaged[20] ^= 1;
        let key = net.nodes[A].key.public_key();
        crate::cookies::sign(&mut damaged, &key);
        for _ in 0..100 {
            net.udp(A, elsewhere, &damaged);
        }
        assert_eq!(net.dropped(A, DropReason::NotAuthentic), 8);
        assert_eq!(net.dropped(A, DropReason::Unexpected), 92);
        // The next try is a new chance.
        net.link = Link::GOOD;
        net.run(seconds(6));
        assert_eq!(net.take(B), std::slice::from_ref(&packet));
    }
}

/// The window holds 8,128 counters (RFC 6479; the driver's `COUNTER_WINDOW_SIZE`).
#[test]
fn reordered_messages_are_taken_once_within_the_window() {
    let mut net = Net::joined(Case::V4);
    let from = net.nodes[A].address;
    let packets: Vec<_> = (0..9000).map(|id| net.packet(A, B, 4, id)).collect();
    let sealed: Vec<_> = packets.iter().map(|packet| net.seal(A, packet)).collect();
    let mut order: Vec<usize> = (0..64).collect();
    net.random.shuffle(&mut order);
    for at in order {
        assert_eq!(net.udp(B, from, &sealed[at]), Some(packets[at].clone()));
    }
    assert!(net.udp(B, from, &sealed[8999]).is_some());
    for at in [8998, 5000, 8999 - 8128] {
        assert_eq!(net.udp(B, from, &sealed[at]), Some(packets[at].clone()), "{at}");
        refused(&mut net, from, &sealed[at], DropReason::Replayed);
    }
    refused(&mut net, from, &sealed[8999 - 8129], DropReason::Replayed);
}

#[test]
fn a_reordering_link_loses_and_doubles_nothing() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        net.link = Link {
            jitter: millis(200),
            doubled: 300,
            ..Link::GOOD
        };
        let mut packets: Vec<_> = (0..500).map(|id| net.packet(A, B, 20, id)).collect();
        for packet in &packets {
            net.tun(A, packet);
            net.run(millis(1));
        }
        net.settle();
        let mut arrived = net.take(B);
        assert_ne!(arrived, packets, "the order has changed");
        arrived.sort();
        packets.sort();
        assert_eq!(arrived, packets);
        let again = net.dropped(B, DropReason::Replayed);
        assert!((100..200).contains(&again), "{again} copies");
    }
}

/// An authentic message of a wrong packet: the peer is heard, the packet goes nowhere.
#[test]
fn packets_from_wrong_sources_are_refused() {
    let mut net = Net::joined(Case::V4);
    let before = net.peer_status(B, A);
    let wrong = [
        packet("10.0.0.3", "10.0.0.2", b"body"),
        packet("10.0.0.2", "10.0.0.2", b"body"),
        packet("fd00::9", "fd00::2", b"body"),
        packet("0.0.0.0", "10.0.0.2", b"body"),
    ];
    for (count, packet) in (1..).zip(&wrong) {
        net.tun(A, packet);
        net.settle();
        assert_eq!(
            (net.take(B).len(), net.drops(B)),
            (0, vec![(DropReason::SourceNotAllowed, count)])
        );
    }
    let after = net.peer_status(B, A);
    assert!(after.rx_bytes > before.rx_bytes);
    assert_eq!(after.packets, before.packets, "they came to nobody");
}

#[test]
fn packets_that_are_none_are_refused() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let good = net.packet(A, B, 30, 1);
        let mut count = 0;
        let mut try_one = |change: &dyn Fn(&mut Vec<u8>)| {
            // The sender's device checks only where its packets go.
            let mut packet = good.clone();
            change(&mut packet);
            net.tun(A, &packet);
            net.settle();
            count += 1;
            assert_eq!(
                (net.take(B).len(), net.drops(B)),
                (0, vec![(DropReason::InnerMalformed, count)])
            );
        };
        if case.v6 {
            try_one(&|packet| packet[5] = 200);
            try_one(&|packet| packet[4] = 1);
        } else {
            try_one(&|packet| packet[3] = 200);
            try_one(&|packet| packet[2..4].copy_from_slice(&[0, 19]));
            try_one(&|packet| packet[2..4].copy_from_slice(&[0, 0]));
            // Too short for its header, with the padding behind it.
            try_one(&|packet| packet[2..4].copy_from_slice(&[4, 0]));
        }
        // Padding belongs to nobody: what the packet does not claim is cut off.
        let mut longer = good.clone();
        longer.extend([7; 20]);
        net.tun(A, &longer);
        net.settle();
        assert_eq!(net.take(B), [good]);
    }
}

#[test]
fn what_has_no_way_out_is_counted() {
    for case in Case::all() {
        let mut net = Net::pair(case);
        let nowhere = net.packet(A, 98, 10, 1);
        net.tun(A, &nowhere);
        assert_eq!(net.drops(A), [(DropReason::NoPeerForDestination, 1)]);
        for packet in [&b""[..], b"\x00not a packet", b"\x45short", &[0x60; 39], &[0x75; 60]] {
            net.tun(A, packet);
        }
        assert_eq!(net.dropped(A, DropReason::OutgoingMalformed), 5);
        let c = net.add();
        net.change(A, c, |peer| peer.endpoint = None);
        let packet = net.packet(A, c, 10, 1);
        net.tun(A, &packet);
        assert_eq!(net.dropped(A, DropReason::NoEndpoint), 1);
        let too_big = net.packet(A, B, MTU, 1);
        net.tun(A, &too_big);
        assert_eq!(net.dropped(A, DropReason::PacketTooBig), 1);
        assert!(net.log.is_empty());
    }
}

/// Without a private key nothing works, and each thing says so.
#[test]
fn a_device_without_a_key() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let packet = net.packet(A, B, 10, 1);
        let data = net.seal(A, &packet);
        let back = net.packet(B, A, 10, 1);
        let change = fielato_wireguard::uapi::SetDevice {
            private_key: Some(None),
            ..Default::default()
        };
        let now = net.now;
        let mut out = fielato_wireguard::Outbox::new();
        net.nodes[B]
            .device
            .with_control(|control| control.configure(&change, now, &mut out));
        let from = net.nodes[A].address;
        refused(&mut net, from, &data, DropReason::UnknownIndex);
        let mut message = vec![0; 148];
        message[0] = 1;
        refused(&mut net, from, &message, DropReason::NoPrivateKey);
        net.tun(B, &back);
        assert_eq!(net.dropped(B, DropReason::NoPrivateKey), 2);
        assert_eq!(net.usage(B), Default::default());
        assert_eq!(net.status(B).public_key, None);
    }
}

/// The header's checksum is the sender's business: nothing here looks at it, nothing changes it.
#[test]
fn packets_are_not_changed() {
    let mut net = Net::joined(Case::V4);
    let mut odd = packet("10.0.0.1", "10.0.0.2", b"body");
    odd[1] = 0xb8;
    odd[10] ^= 0xff;
    net.tun(A, &odd);
    net.settle();
    assert_eq!(net.take(B), [odd.clone()]);
    set_checksum(&mut odd);
    net.tun(A, &odd);
    net.settle();
    assert_eq!(net.take(B), [odd]);
}
