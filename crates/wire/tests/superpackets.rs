//! Superpackets cut and made: by table, and one as the other's inverse over random traffic.

use std::collections::HashMap;
use std::ops::Range;

use fielato_wire::build::{Extension, Ip, Tcp};
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::{GsoError, Segments};
use fielato_wire::{Family, Headers, Malformed, Offload, Segmentation, SegmentationKind, TcpFlags, checksum, number};

const ACK: u8 = TcpFlags::ACK;
const PSH: u8 = TcpFlags::PSH;
const FIN: u8 = TcpFlags::FIN;
const CWR: u8 = TcpFlags::CWR;
const ECE: u8 = TcpFlags::ECE;

/// Numbers that look random and are the same each time (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}

fn ip(family: Family) -> Ip {
    match family {
        Family::V4 => Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).id(100),
        Family::V6 => Ip::v6([0xfd08, 0, 0, 0, 0, 0, 0, 1], [0xfd08, 0, 0, 0, 0, 0, 0, 2]),
    }
}

fn payload(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| (n * 7 % 251) as u8).collect()
}

fn tcp(family: Family, index: usize, seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let segment = Tcp::new(1000, 2000)
        .seq(seq)
        .ack(77)
        .flags(flags)
        .options([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    with_index(ip(family), index).tcp(&Tcp { ack: 77, ..segment }.payload(data))
}

fn udp(family: Family, index: usize, data: &[u8]) -> Vec<u8> {
    with_index(ip(family), index).udp(1000, 2000, data)
}

fn with_index(ip: Ip, index: usize) -> Ip {
    match ip.family {
        Family::V4 => {
            let id = (ip.id + index as u32) & 0xffff;
            ip.id(id)
        }
        Family::V6 => ip,
    }
}

/// Lays packets into one buffer with gaps and padding, as received messages have them.
fn lay(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut buffer = Vec::new();
    let ranges = packets.iter().enumerate().map(|(index, packet)| {
        buffer.resize(buffer.len() + 16, 0xee);
        let start = buffer.len();
        buffer.extend_from_slice(packet);
        buffer.resize(buffer.len() + index % 16, 0);
        start..buffer.len()
    });
    let ranges = ranges.collect();
    (buffer, ranges)
}

/// What is written to the interface: offload and packet.
fn coalesce(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<(Offload, Vec<u8>, usize)> {
    let (mut buffer, ranges) = lay(packets);
    for range in ranges {
        coalescer.push(&buffer, range).unwrap();
    }
    let items: Vec<_> = coalescer
        .finish(&mut buffer)
        .map(|item| (item.offload, item.parts.to_vec()))
        .collect();
    let join = |parts: &[Range<usize>]| parts.iter().flat_map(|part| buffer[part.clone()].to_vec()).collect();
    items
        .iter()
        .map(|(offload, parts)| (*offload, join(parts), parts.len()))
        .collect()
}

fn cut(packet: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(packet, offload).unwrap();
    let (count, max) = (segments.count(), segments.max_len());
    let mut out = vec![0xaa; max];
    let mut all = Vec::new();
    while let Some(len) = segments.write_next(&mut out) {
        all.push(out[..len].to_vec());
    }
    assert_eq!(all.len(), count);
    assert_eq!(all.iter().map(Vec::len).max(), Some(max));
    all
}

/// Whether all checksums are right.
fn sound(packet: &[u8]) -> bool {
    let Ok(headers) = Headers::receive(packet) else {
        return false;
    };
    let transport = headers.transport(packet);
    let pseudo = checksum::pseudo(headers.src, headers.dst, headers.protocol, transport.len() as u32);
    usize::from(headers.len) == packet.len() && checksum::fold(pseudo + checksum::sum(transport)) == 0xffff
}

#[test]
fn a_tcp_stream_becomes_one_superpacket_and_again_its_segments() {
    for family in [Family::V4, Family::V6] {
        // The sequence number wraps; CWR on the first, PSH and FIN on the last, which is shorter.
        let seq = u32::MAX - 1500;
        let flags = [ACK | CWR | ECE, ACK | ECE, ACK | ECE, ACK | ECE | PSH | FIN];
        let packets: Vec<_> = (0..4)
            .map(|n| {
                let len = if n == 3 { 301 } else { 1000 };
                tcp(
                    family,
                    n,
                    seq.wrapping_add(n as u32 * 1000),
                    flags[n],
                    &payload(n * 1000, len),
                )
            })
            .collect();
        let items = coalesce(&mut Coalescer::new(64, false), &packets);
        let [(offload, superpacket, parts)] = items.as_slice() else {
            panic!("{} items", items.len());
        };
        let (l4, kind) = match family {
            Family::V4 => (20, SegmentationKind::Tcp4),
            Family::V6 => (40, SegmentationKind::Tcp6),
        };
        let segmentation = Segmentation {
            kind,
            ecn: true,
            size: 1000,
            header_len: l4 + 32,
        };
        assert_eq!(
            *offload,
            Offload {
                needs_csum: Some((l4, 16)),
                data_valid: false,
                segmentation: Some(segmentation),
            }
        );
        assert_eq!((*parts, superpacket.len()), (4, usize::from(l4) + 32 + 3301));
        assert_eq!(superpacket[usize::from(l4) + 32..], payload(0, 3301));
        assert_eq!(superpacket[usize::from(l4) + 13], ACK | CWR | ECE | PSH | FIN);
        let headers = Headers::receive(superpacket).unwrap();
        assert_eq!(usize::from(headers.len), superpacket.len());
        assert_eq!(cut(superpacket, offload), packets);
    }
}

#[test]
fn datagrams_of_a_flow_become_one_superpacket_and_again_themselves() {
    for family in [Family::V4, Family::V6] {
        let packets: Vec<_> = (0..5)
            .map(|n| udp(family, n, &payload(n, if n == 4 { 1 } else { 64 })))
            .collect();
        let items = coalesce(&mut Coalescer::new(64, true), &packets);
        let [(offload, superpacket, 5)] = items.as_slice() else {
            panic!("{items:?}");
        };
        assert_eq!(offload.segmentation.unwrap().kind, SegmentationKind::Udp);
        assert_eq!(cut(superpacket, offload), packets);
        // The kernel takes none.
        let apart = coalesce(&mut Coalescer::new(64, false), &packets);
        assert_eq!(apart.len(), 5);
        assert!(
            apart
                .iter()
                .zip(&packets)
                .all(|(item, packet)| item.0 == Offload::VALID && item.1 == *packet)
        );
    }
}

/// Two packets that would be joined, but for what `change` does to the second; and that a third which fits the second joins it.
fn pair(family: Family, change: impl Fn(&mut Ip, &mut Tcp)) -> usize {
    let build = |n: usize| {
        let mut ip = with_index(ip(family), n);
        let mut segment = Tcp::new(1000, 2000).seq(500 + n as u32 * 10).ack(1).payload(payload(n, 10));
        if n > 0 {
            change(&mut ip, &mut segment);
        }
        ip.tcp(&segment)
    };
    let packets = vec![build(0), build(1)];
    let items = coalesce(&mut Coalescer::new(64, true), &packets);
    let again: Vec<_> = items.iter().flat_map(|(offload, packet, _)| cut(packet, offload)).collect();
    assert_eq!(again, packets, "nothing is lost, and the order stays");
    items.len()
}

#[test]
fn only_what_continues_a_segment_joins_it() {
    type Change = fn(&mut Ip, &mut Tcp);
    let both: [(&str, Change, usize); 20] = [
        ("nothing", |_, _| {}, 1),
        ("PSH", |_, tcp| tcp.flags.0 |= PSH, 1),
        ("FIN", |_, tcp| tcp.flags.0 |= FIN, 1),
        ("CWR", |_, tcp| tcp.flags.0 |= CWR, 2),
        ("ECE", |_, tcp| tcp.flags.0 |= ECE, 2),
        ("SYN", |_, tcp| tcp.flags.0 |= TcpFlags::SYN, 2),
        ("RST", |_, tcp| tcp.flags.0 |= TcpFlags::RST, 2),
        ("URG", |_, tcp| tcp.flags.0 |= TcpFlags::URG, 2),
        ("no ACK", |_, tcp| tcp.flags.0 = 0, 2),
        ("a hole", |_, tcp| tcp.seq += 1, 2),
        ("the same again", |_, tcp| tcp.seq -= 10, 2),
        ("another acknowledgement", |_, tcp| tcp.ack += 1, 2),
        ("another window", |_, tcp| tcp.window -= 1, 2),
        ("options", |_, tcp| tcp.options = vec![1; 4], 2),
        ("another port", |_, tcp| tcp.dport += 1, 2),
        ("shorter", |_, tcp| tcp.payload.truncate(9), 1),
        ("longer", |_, tcp| tcp.payload.push(0), 2),
        ("no payload", |_, tcp| tcp.payload.clear(), 2),
        ("another hop limit", |ip, _| ip.ttl -= 1, 2),
        ("congestion experienced", |ip, _| ip.tos |= 3, 2),
    ];
    for family in [Family::V4, Family::V6] {
        for (what, change, items) in both {
            assert_eq!(pair(family, change), items, "{family:?}: {what}");
        }
    }
    assert_eq!(pair(Family::V4, |ip, _| ip.dont_fragment = true), 2);
    assert_eq!(pair(Family::V4, |ip, _| ip.id += 1), 2);
    assert_eq!(pair(Family::V4, |ip, _| ip.options = vec![1; 4]), 2);
    assert_eq!(pair(Family::V6, |ip, _| ip.id += 1), 2);
    assert_eq!(
        pair(Family::V6, |ip, _| ip.extensions = vec![Extension::Destination(vec![])]),
        2
    );
}

#[test]
fn a_later_packet_never_overtakes_its_flow() {
    for family in [Family::V4, Family::V6] {
        let at = |n: usize, seq: u32, flags| tcp(family, n, seq, flags, &payload(n, 10));
        // The third is a hole away from the first two; the fourth would fit those, and the fifth the third.
        let packets = vec![
            at(0, 0, ACK),
            at(1, 10, ACK),
            at(2, 100, ACK),
            at(2, 20, ACK),
            at(3, 110, ACK),
        ];
        let items = coalesce(&mut Coalescer::new(64, true), &packets);
        assert_eq!(items.iter().map(|item| item.2).collect::<Vec<_>>(), [2, 1, 1, 1]);
        // PSH ends an item, also the first of one.
        let packets = vec![at(0, 0, ACK | PSH), at(1, 10, ACK), at(2, 20, ACK | PSH), at(3, 30, ACK)];
        let items = coalesce(&mut Coalescer::new(64, true), &packets);
        assert_eq!(items.iter().map(|item| item.2).collect::<Vec<_>>(), [1, 2, 1]);
        // A pure acknowledgement stays where it is.
        let acknowledgement = tcp(family, 1, 10, ACK, &[]);
        let packets = vec![at(0, 0, ACK), acknowledgement, at(2, 10, ACK)];
        let items = coalesce(&mut Coalescer::new(64, true), &packets);
        assert_eq!(items.iter().map(|item| item.2).collect::<Vec<_>>(), [1, 1, 1]);
    }
    // A fragment may be of any flow.
    let fragment = Ip {
        more_fragments: true,
        ..ip(Family::V4)
    };
    let at = |n: usize, seq: u32| tcp(Family::V4, n, seq, ACK, &payload(n, 10));
    let packets = vec![at(0, 0), fragment.udp(1, 2, &[0; 16]), at(1, 10)];
    assert_eq!(coalesce(&mut Coalescer::new(64, true), &packets).len(), 3);
    // Echo requests are of none.
    let packets = vec![at(0, 0), ip(Family::V4).icmp(8, 0, 0, &[]), at(1, 10)];
    assert_eq!(coalesce(&mut Coalescer::new(64, true), &packets).len(), 2);
}

#[test]
fn limits_hold() {
    let stream = |family, count: usize, len: usize| -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| tcp(family, n, (n * len) as u32, ACK, &payload(n * len, len)))
            .collect()
    };
    let parts = |items: &[(Offload, Vec<u8>, usize)]| items.iter().map(|item| item.2).collect::<Vec<_>>();
    for family in [Family::V4, Family::V6] {
        assert_eq!(
            parts(&coalesce(&mut Coalescer::new(4, false), &stream(family, 10, 9))),
            [4, 4, 2]
        );
        assert_eq!(
            parts(&coalesce(&mut Coalescer::new(1, false), &stream(family, 3, 9))),
            [1, 1, 1]
        );
        assert_eq!(
            parts(&coalesce(&mut Coalescer::new(0, false), &stream(family, 3, 9))),
            [1, 1, 1]
        );
        let items = coalesce(&mut Coalescer::new(100, false), &stream(family, 60, 1368));
        assert_eq!(parts(&items), [47, 13]);
        assert!(items.iter().all(|item| item.1.len() <= 65_535));
    }
}

#[test]
fn more_flows_than_fit_are_still_in_order() {
    let mut coalescer = Coalescer::new(64, true);
    let packets: Vec<_> = (0..4)
        .flat_map(|n: usize| (0..500u16).map(move |port| with_index(ip(Family::V4), n).udp(port, 9, &payload(n, 32))))
        .collect();
    check_inverse(&mut coalescer, &packets);
    let few: Vec<_> = packets
        .iter()
        .filter(|packet| packet[20] == 0 && packet[21] < 24)
        .cloned()
        .collect();
    let items = coalesce(&mut coalescer, &few);
    assert!(items.len() < 48, "24 flows of 4 packets each make {} items", items.len());
}

#[test]
fn what_is_no_whole_packet_is_refused() {
    let mut coalescer = Coalescer::new(64, true);
    for family in [Family::V4, Family::V6] {
        let packet = tcp(family, 0, 1, ACK, &[0; 100]);
        let header = if family == Family::V4 { 20 } else { 40 };
        for (len, error) in [
            (0, Malformed::Truncated),
            (header - 1, Malformed::Truncated),
            (packet.len() - 1, Malformed::TotalLength),
        ] {
            assert_eq!(coalescer.push(&packet, 0..len), Err(error));
        }
        assert_eq!(coalescer.push(&packet, 1..packet.len() + 1), Err(Malformed::Truncated));
    }
    assert_eq!(coalescer.push(&[0x55; 60], 0..60), Err(Malformed::Version));
    assert_eq!(coalescer.push(&[0x44; 60], 0..60), Err(Malformed::HeaderLength));
    assert_eq!(coalescer.finish(&mut []).len(), 0);
}

#[test]
fn a_wrong_sum_or_none_passes_alone() {
    let mut packets: Vec<_> = (0..3)
        .map(|n| tcp(Family::V4, n, n as u32 * 10, ACK, &payload(n, 10)))
        .collect();
    packets[1][10] ^= 1;
    let items = coalesce(&mut Coalescer::new(64, true), &packets);
    assert_eq!(items.iter().map(|item| item.1.clone()).collect::<Vec<_>>(), packets);
    let mut packets: Vec<_> = (0..3).map(|n| udp(Family::V4, n, &payload(n, 10))).collect();
    for packet in &mut packets {
        packet[26..28].fill(0);
    }
    assert_eq!(coalesce(&mut Coalescer::new(64, true), &packets).len(), 3);
}

#[test]
fn identifications_that_stay_the_same_need_df() {
    let packets = |dont_fragment| -> Vec<Vec<u8>> {
        let ip = Ip {
            dont_fragment,
            ..ip(Family::V4)
        };
        (0..3).map(|n| ip.udp(1, 2, &payload(n, 10))).collect()
    };
    assert_eq!(coalesce(&mut Coalescer::new(64, true), &packets(true)).len(), 1);
    assert_eq!(coalesce(&mut Coalescer::new(64, true), &packets(false)).len(), 3);
}

/// Cutting what was joined gives what went in, each flow in its order, and items stand in the order of their first packets.
fn check_inverse(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> usize {
    let items = coalesce(coalescer, packets);
    let mut expected: HashMap<_, Vec<&Vec<u8>>> = HashMap::new();
    let mut found: HashMap<_, Vec<Vec<u8>>> = HashMap::new();
    let flow = |packet: &[u8]| {
        let headers = Headers::parse(packet).unwrap();
        let ports = if headers.is_fragment() {
            (0, 0)
        } else {
            (headers.sport, headers.dport)
        };
        (headers.src, headers.dst, headers.protocol, ports)
    };
    for packet in packets {
        expected.entry(flow(packet)).or_default().push(packet);
    }
    let mut firsts = Vec::new();
    for (offload, superpacket, parts) in &items {
        let again = cut(superpacket, offload);
        assert_eq!(again.len(), *parts);
        firsts.push(again[0].clone());
        for packet in again {
            found.entry(flow(&packet)).or_default().push(packet);
        }
    }
    assert_eq!(expected.len(), found.len());
    for (flow, expected) in expected {
        let found = &found[&flow];
        assert_eq!(found.len(), expected.len());
        assert!(
            expected.iter().zip(found).all(|(expected, found)| *expected == found),
            "{flow:?}"
        );
    }
    let mut rest = packets.iter();
    assert!(
        firsts.iter().all(|first| rest.any(|packet| packet == first)),
        "items are not in the order of their first packets"
    );
    items.len()
}

#[test]
fn joining_and_cutting_is_the_identity_on_random_traffic() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut coalescer = Coalescer::new(44, true);
    let (mut packets_seen, mut items_seen) = (0, 0);
    for _ in 0..400 {
        let mut flows: Vec<(Ip, bool, u16, u32, u32)> = (0..1 + numbers.below(12))
            .map(|n| {
                let family = if numbers.one_in(2) { Family::V4 } else { Family::V6 };
                let mut ip = ip(family);
                ip.dont_fragment = family == Family::V4 && numbers.one_in(2);
                (ip, numbers.one_in(2), n as u16, numbers.next() as u32, numbers.next() as u32)
            })
            .collect();
        let size = 1 + numbers.below(200);
        let mut packets = Vec::new();
        for _ in 0..numbers.below(120) {
            let chosen = numbers.below(flows.len());
            // Runs, as a real sender makes them.
            for _ in 0..1 + numbers.below(6) {
                let (ip, is_tcp, port, seq, id) = &mut flows[chosen];
                let len = if numbers.one_in(8) { numbers.below(size + 2) } else { size };
                let data = numbers.bytes(len);
                *id = (*id + 1) & 0xffff;
                let mut one = ip.clone();
                if one.family == Family::V4 {
                    one.id = *id;
                }
                if numbers.one_in(30) {
                    one.tos = numbers.below(256) as u8;
                }
                if numbers.one_in(40) && one.family == Family::V4 {
                    one.more_fragments = true;
                }
                if numbers.one_in(40) && one.family == Family::V6 {
                    one = one.extension(Extension::HopByHop(vec![5, 2, 0, 0]));
                }
                if *is_tcp {
                    let mut segment = Tcp::new(*port, 7).seq(*seq).ack(9).payload(data);
                    *seq = seq.wrapping_add(len as u32);
                    if numbers.one_in(10) {
                        segment.flags.0 = numbers.below(256) as u8;
                    }
                    if numbers.one_in(20) {
                        segment.ack += 1;
                    }
                    if numbers.one_in(30) {
                        *seq = seq.wrapping_add(1000);
                    }
                    packets.push(one.tcp(&segment));
                } else {
                    packets.push(one.udp(*port, 7, &data));
                }
            }
            if packets.len() > 1 && numbers.one_in(10) {
                let last = packets.len() - 1;
                packets.swap(last, last - 1);
            }
        }
        packets_seen += packets.len();
        items_seen += check_inverse(&mut coalescer, &packets);
    }
    assert!(
        items_seen * 3 < packets_seen * 2,
        "{packets_seen} packets made {items_seen} items: too few were joined"
    );
}

fn superpacket(family: Family, kind: SegmentationKind, extensions: Vec<Extension>, len: usize) -> (Vec<u8>, Offload) {
    let mut ip = ip(family);
    ip.extensions = extensions;
    let tcp = kind != SegmentationKind::Udp;
    let packet = if tcp {
        let flags = ACK | PSH | FIN | CWR;
        ip.tcp(&Tcp::new(1, 2).seq(u32::MAX - 5).ack(3).flags(flags).payload(payload(0, len)))
    } else {
        ip.udp(1, 2, &payload(0, len))
    };
    let l4 = Headers::parse(&packet).unwrap().l4;
    let offload = Offload {
        needs_csum: Some((l4, if tcp { 16 } else { 6 })),
        data_valid: false,
        segmentation: Some(Segmentation {
            kind,
            ecn: true,
            size: 100,
            header_len: 1,
        }),
    };
    (packet, offload)
}

#[test]
fn segments_say_what_the_kernels_would() {
    let header = || vec![Extension::HopByHop(vec![5, 2, 0, 0]), Extension::Destination(vec![])];
    for (family, kind, extensions) in [
        (Family::V4, SegmentationKind::Tcp4, vec![]),
        (Family::V6, SegmentationKind::Tcp6, vec![]),
        (Family::V6, SegmentationKind::Tcp6, header()),
        (Family::V4, SegmentationKind::Udp, vec![]),
        (Family::V6, SegmentationKind::Udp, vec![]),
        (Family::V6, SegmentationKind::Udp, header()),
    ] {
        let (packet, offload) = superpacket(family, kind, extensions, 250);
        let segments = cut(&packet, &offload);
        assert_eq!(segments.len(), 3);
        let mut data = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            assert!(sound(segment), "{kind:?} {n}");
            let headers = Headers::receive(segment).unwrap();
            let transport = headers.transport(segment);
            if family == Family::V4 {
                assert_eq!(segment[4..6], (100 + n as u16).to_be_bytes());
            }
            if kind == SegmentationKind::Udp {
                data.extend_from_slice(&transport[8..]);
                continue;
            }
            let sequence = (u32::MAX - 5).wrapping_add(n as u32 * 100);
            assert_eq!(transport[4..8], sequence.to_be_bytes());
            assert_eq!(headers.tcp_flags.0, [ACK | CWR, ACK, ACK | PSH | FIN][n]);
            data.extend_from_slice(&transport[20..]);
        }
        assert_eq!(data, payload(0, 250));
        // A buffer that is too short gets nothing, and loses nothing.
        let mut again = Segments::new(&packet, &offload).unwrap();
        assert_eq!(again.write_next(&mut vec![0; again.max_len() - 1]), None);
        let mut out = vec![0; again.max_len()];
        assert_eq!(again.write_next(&mut out), Some(out.len()));
        assert_eq!(out, segments[0]);
    }
}

#[test]
fn checksums_are_completed() {
    for family in [Family::V4, Family::V6] {
        for transport in [number::TCP, number::UDP] {
            let (whole, offset) = match transport {
                number::TCP => (tcp(family, 0, 1, ACK, &payload(0, 99)), 16),
                _ => (udp(family, 0, &payload(0, 99)), 6),
            };
            let headers = Headers::parse(&whole).unwrap();
            let place = usize::from(headers.l4) + offset;
            let len = headers.transport(&whole).len() as u32;
            let pseudo = checksum::fold(checksum::pseudo(headers.src, headers.dst, transport, len));
            let mut partial = whole.clone();
            partial[place..place + 2].copy_from_slice(&pseudo.to_be_bytes());
            let offload = Offload {
                needs_csum: Some((headers.l4, offset as u16)),
                ..Offload::default()
            };
            assert_eq!(cut(&partial, &offload), [whole]);
            assert_eq!(cut(&partial, &Offload::default()), [partial]);
        }
    }
}

#[test]
fn wrong_superpackets_are_refused() {
    let (v4, offload) = superpacket(Family::V4, SegmentationKind::Tcp4, vec![], 250);
    let refused = |packet: &[u8], offload: &Offload| Segments::new(packet, offload).unwrap_err();
    let truncated = |len| GsoError::Truncated { len };
    for len in [0, 19, 39, v4.len() - 1] {
        assert_eq!(refused(&v4[..len], &offload), truncated(len));
    }
    let (v6, offload_v6) = superpacket(Family::V6, SegmentationKind::Tcp6, vec![], 250);
    for len in [39, 59, v6.len() - 1] {
        assert_eq!(refused(&v6[..len], &offload_v6), truncated(len));
    }
    assert_eq!(
        refused(&v6, &offload),
        GsoError::Kind {
            kind: SegmentationKind::Tcp4
        }
    );
    let (mut zero, mut elsewhere) = (offload, offload);
    zero.segmentation.as_mut().unwrap().size = 0;
    assert_eq!(refused(&v4, &zero), GsoError::Size);
    elsewhere.needs_csum = Some((24, 16));
    assert_eq!(refused(&v4, &elsewhere), GsoError::Checksum { start: 24, offset: 16 });
    let mut fragment = v4.clone();
    fragment[6] = 0x20;
    assert_eq!(refused(&fragment, &offload), GsoError::NextHeader(number::TCP));
    for (data_offset, ok) in [(0x40, false), (0x50, true), (0xf0, true)] {
        let mut packet = v4.clone();
        packet[32] = data_offset;
        assert_eq!(Segments::new(&packet, &offload).is_ok(), ok);
    }
    let extension = Extension::Fragment {
        offset: 0,
        more: false,
        id: 1,
    };
    let (packet, offload) = superpacket(Family::V6, SegmentationKind::Udp, vec![extension], 250);
    assert_eq!(refused(&packet, &offload), GsoError::NextHeader(number::FRAGMENT));
}

#[test]
fn no_bytes_bring_it_down() {
    let mut numbers = Numbers(0xfeed_f00d_dead_beef);
    let mut coalescer = Coalescer::new(8, true);
    let mut out = vec![0; 70_000];
    let (mut taken, mut joined) = (0, 0);
    for _ in 0..60_000 {
        let mut packet = match numbers.below(5) {
            0 => {
                let len = numbers.below(120);
                numbers.bytes(len)
            }
            1 => superpacket(Family::V4, SegmentationKind::Tcp4, vec![], 300).0,
            2 => superpacket(Family::V6, SegmentationKind::Tcp6, vec![], 300).0,
            3 => superpacket(Family::V6, SegmentationKind::Udp, vec![], 300).0,
            _ => superpacket(Family::V6, SegmentationKind::Udp, vec![Extension::Destination(vec![])], 300).0,
        };
        for _ in 0..numbers.below(4) {
            if !packet.is_empty() {
                let at = numbers.below(packet.len().min(80));
                packet[at] = numbers.next() as u8;
            }
        }
        packet.truncate(
            packet.len()
                - if numbers.one_in(4) {
                    numbers.below(packet.len() + 1)
                } else {
                    0
                },
        );
        let mut header = [0; 10];
        header.copy_from_slice(&numbers.bytes(10));
        header[1] = [0, 1, 4, 5, 0x81][numbers.below(5)];
        if numbers.one_in(2) {
            header[0] = 0;
        }
        let offload = Offload::parse(&header).unwrap();
        assert_eq!(Offload::parse(&offload.emit()), Ok(offload));
        if let Ok(mut segments) = Segments::new(&packet, &offload) {
            let (count, max) = (segments.count(), segments.max_len());
            for _ in 0..count {
                let len = segments.write_next(&mut out).unwrap();
                assert!(len <= max);
            }
            assert_eq!(segments.write_next(&mut out), None);
            taken += 1;
        }
        let mut buffer = packet.repeat(3);
        let mut pushed = 0;
        for range in [0..packet.len(), packet.len()..packet.len() * 2, 0..packet.len() * 3] {
            pushed += usize::from(coalescer.push(&buffer, range).is_ok());
        }
        let items = coalescer.finish(&mut buffer);
        let mut parts = 0;
        for item in items {
            assert!(item.parts.iter().all(|part| part.end <= packet.len() * 3));
            parts += item.parts.len();
            joined += usize::from(item.parts.len() > 1);
        }
        assert_eq!(parts, pushed);
    }
    assert!(
        taken > 10_000 && joined > 100,
        "{taken} were cut and {joined} joined: the test reaches too little"
    );
}
