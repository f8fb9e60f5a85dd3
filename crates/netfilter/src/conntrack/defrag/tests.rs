use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::Headers;

use super::*;
use crate::Interface;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// A UDP packet; IPv4 with an option that is copied and one that is not when `options`.
fn whole(family: Family, len: usize, options: bool, df: bool) -> Vec<u8> {
    let mut udp = vec![0x30, 0x39, 0, 53, 0, 0, 0, 0];
    udp[4..6].copy_from_slice(&(len as u16 + 8).to_be_bytes());
    udp.extend(payload(len));
    let mut packet = match family {
        Family::V4 => {
            let mut header = vec![
                0x45,
                0,
                0,
                0,
                0x12,
                0x34,
                if df { 0x40 } else { 0 },
                0,
                64,
                17,
                0,
                0,
                10,
                0,
                0,
                1,
                10,
                0,
                0,
                2,
            ];
            if options {
                // Router alert is copied, record route is not.
                header.extend_from_slice(&[0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
                header[0] = 0x48;
            }
            let total = (header.len() + udp.len()) as u16;
            header[2..4].copy_from_slice(&total.to_be_bytes());
            let header_len = header.len();
            seal_v4(&mut header, header_len);
            header
        }
        Family::V6 => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
            header.extend_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
            header.extend_from_slice(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
            if options {
                header[6] = number::HOP_BY_HOP;
                header.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
            }
            let len = (udp.len() + header.len() - 40) as u16;
            header[4..6].copy_from_slice(&len.to_be_bytes());
            header
        }
    };
    packet.extend(udp);
    packet
}

fn local(data: Vec<u8>) -> Packet {
    Packet::local(data).unwrap()
}

/// Fragments of a UDP packet, as this host would send it.
fn pieces(family: Family, len: usize, mtu: u32) -> Vec<Packet> {
    let pieces = fragment_as(&local(whole(family, len, false, false)), mtu, 0xdead_beef).unwrap();
    pieces.into_iter().map(received).collect()
}

fn received(data: Vec<u8>) -> Packet {
    Packet::received(data, Interface::new(3, "tun0").unwrap()).unwrap()
}

fn push(defrag: &mut Defrag, packet: &Packet, seconds: u64) -> Defragmented {
    defrag.push(packet.clone(), 0, 0, &Config::default(), Now::from_secs(seconds))
}

fn assert_empty(defrag: &Defrag) {
    assert!(defrag.queues.is_empty() && defrag.deadlines.is_empty() && defrag.sources.is_empty());
    assert_eq!(defrag.memory, [0, 0]);
}

#[test]
fn any_order_makes_the_same_whole() {
    for family in FAMILIES {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let parts = pieces(family, 3_000, 1_280);
            assert_eq!(parts.len(), 3);
            let mut defrag = Defrag::default();
            assert!(matches!(push(&mut defrag, &parts[order[0]], 0), Defragmented::Waiting));
            assert!(matches!(push(&mut defrag, &parts[order[1]], 0), Defragmented::Waiting));
            let Defragmented::Whole(packet) = push(&mut defrag, &parts[order[2]], 0) else {
                panic!("{family:?} {order:?} is not whole");
            };
            assert_eq!(packet.data, whole(family, 3_000, false, false));
            assert_eq!(packet.headers, Headers::receive(&packet.data).unwrap());
            let largest = parts.iter().map(|part| part.data.len()).max().unwrap();
            assert_eq!(usize::from(packet.largest_fragment), largest);
            assert_empty(&defrag);

            // It leaves as it came.
            let again = fragment(&packet, 1_500).unwrap();
            assert_eq!(again, parts.iter().map(|part| part.data.clone()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn cut_and_joined_it_is_the_same() {
    for family in FAMILIES {
        for len in [1, 7, 8, 9, 1_000, 1_233, 1_472, 9_001, 65_000] {
            for mtu in [1_280, 1_281, 1_400, 1_500, 9_000] {
                let original = whole(family, len, true, false);
                let parts = fragment_as(&local(original.clone()), mtu, 5).unwrap();
                assert!(parts.iter().all(|part| part.len() <= mtu as usize));
                assert_eq!(parts.len() == 1, original.len() <= mtu as usize);
                let mut defrag = Defrag::default();
                let mut result = None;
                for part in &parts {
                    if let Defragmented::Whole(packet) = push(&mut defrag, &received(part.clone()), 0) {
                        assert!(result.replace(packet).is_none());
                    }
                }
                assert_eq!(result.unwrap().data, original, "{family:?} {len} bytes by {mtu}");
            }
        }
    }
}

#[test]
fn options_without_the_copy_bit_are_only_in_the_first() {
    let parts = fragment(&local(whole(Family::V4, 3_000, true, false)), 1_500).unwrap();
    assert_eq!(parts[0][20..32], [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
    for part in &parts[1..] {
        assert_eq!(part[20..32], [0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert!(Headers::receive(part).is_ok());
    }
}

#[test]
fn a_duplicate_is_dropped_and_an_overlap_drops_all() {
    for family in FAMILIES {
        let parts = pieces(family, 3_000, 1_280);
        let mut defrag = Defrag::default();
        for _ in 0..3 {
            assert!(matches!(push(&mut defrag, &parts[0], 0), Defragmented::Waiting));
        }
        push(&mut defrag, &parts[2], 0);
        assert!(matches!(push(&mut defrag, &parts[1], 0), Defragmented::Whole(_)));

        // One of other boundaries covers parts of two.
        let other = pieces(family, 3_000, 1_288);
        push(&mut defrag, &parts[0], 0);
        push(&mut defrag, &parts[2], 0);
        assert!(matches!(push(&mut defrag, &other[1], 0), Defragmented::Refused));
        assert_empty(&defrag);
    }
}

#[test]
fn what_does_not_come_in_time_is_dropped() {
    for (family, seconds) in [(Family::V4, 30), (Family::V6, 60)] {
        let parts = pieces(family, 2_000, 1_280);
        let mut defrag = Defrag::default();
        push(&mut defrag, &parts[0], 0);
        assert!(matches!(push(&mut defrag, &parts[1], seconds - 1), Defragmented::Whole(_)));
        push(&mut defrag, &parts[0], 0);
        assert!(matches!(push(&mut defrag, &parts[1], seconds), Defragmented::Waiting));
        defrag.expire(Now::from_secs(2 * seconds));
        assert_empty(&defrag);
    }
}

#[test]
fn datagrams_zones_and_users_are_kept_apart() {
    for family in FAMILIES {
        let parts = pieces(family, 2_000, 1_280);
        let config = Config::default();
        let now = Now::default();
        let mut defrag = Defrag::default();
        defrag.push(parts[0].clone(), 0, 0, &config, now);
        assert!(matches!(
            defrag.push(parts[1].clone(), 1, 0, &config, now),
            Defragmented::Waiting
        ));
        assert!(matches!(
            defrag.push(parts[1].clone(), 0, 1, &config, now),
            Defragmented::Waiting
        ));
        assert!(matches!(
            defrag.push(parts[1].clone(), 0, 0, &config, now),
            Defragmented::Whole(_)
        ));
    }
}

#[test]
fn memory_is_bounded() {
    for family in FAMILIES {
        let config = Config {
            fragment_memory: 20_000,
            ..Config::default()
        };
        let mut defrag = Defrag::default();
        let mut refused = 0;
        for id in 0..100u32 {
            let parts = fragment_as(&local(whole(family, 2_000, false, false)), 1_280, id).unwrap();
            let mut part = parts[0].clone();
            if family == Family::V4 {
                part[4..6].copy_from_slice(&(id as u16).to_be_bytes());
                seal_v4(&mut part, 20);
            }
            if matches!(
                defrag.push(received(part), 0, 0, &config, Now::default()),
                Defragmented::Refused
            ) {
                refused += 1;
            }
        }
        assert!(refused > 80 && defrag.memory[family as usize] <= 20_000 + 3_000);
        defrag.expire(Now::from_secs(100));
        assert_empty(&defrag);
    }
}

#[test]
fn df_is_kept_when_the_largest_fragment_had_it() {
    let mut parts = pieces(Family::V4, 2_000, 1_280);
    for (large, small, kept) in [(true, true, true), (true, false, true), (false, true, false)] {
        for (part, df) in parts.iter_mut().zip([large, small]) {
            part.data[6] = part.data[6] & !0x40 | if df { 0x40 } else { 0 };
            seal_v4(&mut part.data, 20);
            part.reparse().unwrap();
        }
        let mut defrag = Defrag::default();
        push(&mut defrag, &parts[0], 0);
        let Defragmented::Whole(packet) = push(&mut defrag, &parts[1], 0) else {
            panic!("not whole");
        };
        assert_eq!(packet.headers.dont_fragment, kept);
        // Smaller than the sender's fragments is only allowed without DF.
        assert_eq!(fragment(&packet, 600).is_none(), kept);
    }
}

#[test]
fn ecn_marks_are_joined_or_contradict() {
    for family in FAMILIES {
        for (first, second, joined) in [
            (0, 0, Some(0)),
            (2, 3, Some(3)),
            (1, 3, Some(3)),
            (2, 1, Some(2)),
            (0, 2, None),
            (0, 3, None),
        ] {
            let mut parts = pieces(family, 2_000, 1_280);
            for (part, ecn) in parts.iter_mut().zip([first, second]) {
                match family {
                    Family::V4 => part.data[1] = ecn,
                    Family::V6 => part.data[1] = ecn << 4,
                }
                if family == Family::V4 {
                    seal_v4(&mut part.data, 20);
                }
                part.reparse().unwrap();
            }
            let mut defrag = Defrag::default();
            push(&mut defrag, &parts[0], 0);
            match (push(&mut defrag, &parts[1], 0), joined) {
                (Defragmented::Whole(packet), Some(ecn)) => assert_eq!(packet.headers.tos & 3, ecn),
                (Defragmented::Refused, None) => {}
                (other, _) => panic!("{first} and {second}: {other:?}"),
            }
            assert_empty(&defrag);
        }
    }
}

#[test]
fn an_atomic_fragment_loses_its_header() {
    let original = whole(Family::V6, 100, false, false);
    let mut atomic = original.clone();
    atomic[6] = number::FRAGMENT;
    atomic.splice(40..40, [17, 0, 0, 0, 0, 0, 0, 9]);
    let len = (atomic.len() - 40) as u16;
    atomic[4..6].copy_from_slice(&len.to_be_bytes());
    let mut defrag = Defrag::default();
    let Defragmented::Whole(packet) = push(&mut defrag, &received(atomic), 0) else {
        panic!("not whole");
    };
    assert_eq!(packet.data, original);
    assert_eq!(fragment(&packet, 1_500).unwrap(), [original]);
    assert_empty(&defrag);
}

#[test]
fn too_many_fragments_of_a_source_begin_a_queue_anew() {
    let parts = pieces(Family::V4, 2_000, 1_280);
    let mut defrag = Defrag::default();
    push(&mut defrag, &parts[0], 0);
    for id in 0..=MAX_DISTANCE as u16 {
        let mut other = parts[0].data.clone();
        other[4..6].copy_from_slice(&id.to_be_bytes());
        seal_v4(&mut other, 20);
        push(&mut defrag, &received(other), 0);
    }
    assert!(matches!(push(&mut defrag, &parts[1], 0), Defragmented::Waiting));
    assert!(matches!(push(&mut defrag, &parts[0], 0), Defragmented::Whole(_)));
}

#[test]
fn routers_do_not_cut_what_came_whole_in_ipv6_or_with_df() {
    let v6 = received(whole(Family::V6, 2_000, false, false));
    assert_eq!(fragment(&v6, 1_500), None);
    let df = received(whole(Family::V4, 2_000, false, true));
    assert_eq!(fragment(&df, 1_500), None);
    assert_eq!(fragment(&df, 9_000).unwrap(), [df.data]);
    let v4 = received(whole(Family::V4, 2_000, false, false));
    assert_eq!(fragment(&v4, 1_500).unwrap().len(), 2);
    assert_eq!(Addr::from(Ipv4Addr::new(10, 0, 0, 1)), v4.headers.src);
}

#[test]
fn no_bytes_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    let config = Config::default();
    let mut defrag = Defrag::default();
    for round in 0..60_000u64 {
        let family = FAMILIES[rng.usize(..2)];
        let len = rng.usize(..200);
        let mut bytes = whole(family, len, rng.bool(), false);
        if family == Family::V6 && rng.bool() {
            bytes[6] = number::FRAGMENT;
        }
        for _ in 0..rng.usize(..6) {
            let at = rng.usize(..bytes.len().min(70));
            bytes[at] = rng.u8(..);
        }
        if family == Family::V4 {
            bytes[6..8].copy_from_slice(&(rng.u16(..) & 0x203f).to_be_bytes());
        }
        let Ok(packet) = Packet::local(bytes) else { continue };
        let _ = fragment(&packet, rng.u32(..300));
        if let Defragmented::Whole(packet) = defrag.push(packet, 0, 0, &config, Now::from_secs(round / 100)) {
            let _ = fragment(&packet, rng.u32(..2_000));
        }
    }
    defrag.expire(Now::from_secs(10_000));
    assert_empty(&defrag);
}

/// Datagrams as Linux 6.18 forwarded them between two TUN devices, connection tracking on. A line is a fragment: start, end, whether
/// more follow, DF, traffic class; then what came out: length, offset, flags, traffic class and a hash of the payload.
const KERNEL: &str = include_str!("kernel-6.18.txt");

#[test]
fn the_kernel_forwards_the_same() {
    let mut defrag = Defrag::default();
    let (mut family, mut mtu, mut id, mut datagram) = (Family::V4, 0, 0, Vec::new());
    let mut out = String::new();
    for (number, line) in KERNEL.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["datagram", version, settings @ ..] = &words[..] {
            let values: Vec<u32> = settings
                .iter()
                .map(|word| word.split('=').nth(1).unwrap().parse().unwrap())
                .collect();
            family = if *version == "v4" { Family::V4 } else { Family::V6 };
            (mtu, id) = (values[0], values[1]);
            datagram = kernels_udp(family, values[2] as usize - 8, values[3] as u16);
            continue;
        }
        let at = |place: usize| words[place].parse::<usize>().unwrap();
        let share = &datagram[at(0)..at(1)];
        let bytes = match family {
            Family::V4 => {
                let mut packet = vec![0x45, at(4) as u8, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 1, 2];
                packet[2..4].copy_from_slice(&(20 + share.len() as u16).to_be_bytes());
                packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
                let word = (at(3) << 14 | at(2) << 13 | at(0) >> 3) as u16;
                packet[6..8].copy_from_slice(&word.to_be_bytes());
                seal_v4(&mut packet, 20);
                [&packet[..], share].concat()
            }
            Family::V6 => {
                let mut packet = vec![0; 40];
                packet[..4].copy_from_slice(&(0x6000_0000 | (at(4) as u32) << 20).to_be_bytes());
                packet[4..6].copy_from_slice(&(8 + share.len() as u16).to_be_bytes());
                packet[6..8].copy_from_slice(&[number::FRAGMENT, 64]);
                kernels_end(Family::V6, 0).write(&mut packet[8..24]);
                kernels_end(Family::V6, 1).write(&mut packet[24..40]);
                packet.extend_from_slice(&[17, 0]);
                packet.extend_from_slice(&((at(0) | at(2)) as u16).to_be_bytes());
                packet.extend_from_slice(&id.to_be_bytes());
                [&packet[..], share].concat()
            }
        };
        out.clear();
        if let Defragmented::Whole(packet) = push(&mut defrag, &received(bytes), 0) {
            for fragment in fragment(&packet, mtu).unwrap_or_default() {
                out.push(' ');
                out.push_str(&summary(&fragment));
            }
        }
        let found = if out.is_empty() { "-" } else { out.trim_start() };
        assert_eq!(found, words[5..].join(" "), "line {}: {line}", number + 1);
    }
}

fn kernels_end(family: Family, which: u16) -> Addr {
    match family {
        Family::V4 => Addr::from(Ipv4Addr::new(10, 0, which as u8, 2)),
        Family::V6 => Addr::from(Ipv6Addr::new(0x2001, 0xdb8, which, 0, 0, 0, 0, 2)),
    }
}

fn kernels_udp(family: Family, len: usize, port: u16) -> Vec<u8> {
    let mut udp = [port.to_be_bytes(), [0, 53], (len as u16 + 8).to_be_bytes(), [0, 0]].concat();
    udp.extend(payload(len));
    if family == Family::V6 {
        let check = checksum::transport(kernels_end(family, 0), kernels_end(family, 1), number::UDP, &udp);
        udp[6..8].copy_from_slice(&check.to_be_bytes());
    }
    udp
}

fn summary(packet: &[u8]) -> String {
    let headers = Headers::receive(packet).unwrap();
    let fragmented = headers.extensions.0 & fielato_wire::Extensions::FRAGMENT != 0;
    let flags = match (headers.family, headers.more_fragments) {
        (Family::V4, more) => [if headers.dont_fragment { "D" } else { "" }, if more { "M" } else { "" }].concat(),
        (Family::V6, true) => "M".into(),
        (Family::V6, false) => if fragmented { "F" } else { "" }.into(),
    };
    let hash = packet[headers.ip_header_len()..]
        .iter()
        .fold(0x811c_9dc5, |hash: u32, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!(
        "{}:{}:{flags}:{}:{hash:08x}",
        packet.len(),
        headers.fragment_offset,
        headers.tos
    )
}
