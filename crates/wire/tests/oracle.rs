//! Superpackets beside those of tun-rs, which follows wireguard-go.
//!
//! Compared is what both should do. They differ on purpose where we follow the kernel: CWR stays on the first segment only; the
//! window, flow labels, DF and identifications must fit for packets to be joined; a packet that can't be joined is never overtaken
//! by its flow; extension headers are read; single packets carry `DATA_VALID`.

use std::ops::Range;

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::Segments;
use fielato_wire::{Family, Offload, Segmentation, SegmentationKind, TcpFlags};
use tun_rs::{VIRTIO_NET_HDR_LEN, VirtioNetHdr, gso_split, handle_gro};

fn ip(family: Family) -> Ip {
    match family {
        Family::V4 => Ip::v4([192, 0, 2, 1], [198, 51, 100, 2]).tos(8),
        Family::V6 => Ip::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]).tos(8),
    }
}

/// Numbered in IPv4.
fn numbered(ip: Ip, n: usize) -> Ip {
    match ip.family {
        Family::V4 => ip.id(n as u32 & 0xffff),
        Family::V6 => ip,
    }
}

fn payload(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761) ^ seed) as u8).collect()
}

#[test]
fn segments_are_those_of_tun_rs() {
    for family in [Family::V4, Family::V6] {
        for tcp in [true, false] {
            for (len, size) in [(1, 1), (1000, 1000), (1001, 1000), (20_000, 1368), (64_000, 1452), (999, 10)] {
                let flags = TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN | TcpFlags::ECE;
                let segment = Tcp::new(7, 8).seq(u32::MAX - 9000).flags(flags).options([1; 4]);
                let ip = numbered(ip(family), 65_530);
                let mut packet = match tcp {
                    true => ip.tcp(&segment.payload(payload(size, len))),
                    false => ip.udp(7, 8, &payload(size, len)),
                };
                let (l4, kind) = match (family, tcp) {
                    (Family::V4, true) => (20, SegmentationKind::Tcp4),
                    (Family::V6, true) => (40, SegmentationKind::Tcp6),
                    (Family::V4, false) => (20, SegmentationKind::Udp),
                    (Family::V6, false) => (40, SegmentationKind::Udp),
                };
                let offload = Offload {
                    needs_csum: Some((l4, if tcp { 16 } else { 6 })),
                    data_valid: false,
                    segmentation: Some(Segmentation {
                        kind,
                        ecn: false,
                        size: size as u16,
                        header_len: l4 + if tcp { 24 } else { 8 },
                    }),
                };
                let mut segments = Segments::new(&packet, &offload).unwrap();
                let mut ours = Vec::new();
                let mut out = vec![0; segments.max_len()];
                while let Some(len) = segments.write_next(&mut out) {
                    ours.push(out[..len].to_vec());
                }
                let header = VirtioNetHdr::decode(&offload.emit()).unwrap();
                let mut buffers = vec![vec![0; 2000]; 1000];
                let mut sizes = vec![0; 1000];
                let count = gso_split(&mut packet, header, &mut buffers, &mut sizes, 0, family == Family::V6).unwrap();
                let theirs: Vec<_> = (0..count).map(|n| buffers[n][..sizes[n]].to_vec()).collect();
                assert!(ours == theirs, "{family:?}, TCP {tcp}, {len} bytes, {size} each");
            }
        }
    }
}

#[test]
fn superpackets_are_those_of_tun_rs() {
    for family in [Family::V4, Family::V6] {
        // Two TCP streams and one of datagrams, interleaved; lengths, PSH and FIN end superpackets.
        let mut sequences = [1000_u32, u32::MAX - 5000];
        let mut packets = Vec::new();
        for n in 0..90 {
            let len = if n % 17 == 16 { 333 } else { 1200 };
            match n % 3 {
                2 => packets.push(numbered(ip(family), n / 3).udp(5, 6, &payload(n, len))),
                flow => {
                    let push = if n % 11 == 10 { TcpFlags::PSH } else { 0 };
                    let segment = Tcp::new(flow as u16, 9).flags(TcpFlags::ACK | push).seq(sequences[flow]);
                    sequences[flow] = sequences[flow].wrapping_add(len as u32);
                    packets.push(numbered(ip(family), n / 3).tcp(&Tcp { ack: 3, ..segment }.payload(payload(n, len))));
                }
            }
        }

        let mut buffer = Vec::new();
        let ranges: Vec<Range<usize>> = packets
            .iter()
            .map(|packet| {
                let start = buffer.len();
                buffer.extend_from_slice(packet);
                start..buffer.len()
            })
            .collect();
        let mut coalescer = Coalescer::new(64, true);
        for range in ranges {
            coalescer.push(&buffer, range).unwrap();
        }
        let items: Vec<_> = coalescer
            .finish(&mut buffer)
            .map(|item| (item.offload, item.parts.to_vec()))
            .collect();
        let ours: Vec<(Offload, Vec<u8>)> = items
            .into_iter()
            .map(|(offload, parts)| (offload, parts.into_iter().flat_map(|part| buffer[part].to_vec()).collect()))
            .collect();

        let mut buffers: Vec<Vec<u8>> = packets
            .iter()
            .map(|packet| {
                let mut buffer = Vec::with_capacity(VIRTIO_NET_HDR_LEN + 65_535);
                buffer.resize(VIRTIO_NET_HDR_LEN, 0);
                buffer.extend_from_slice(packet);
                buffer
            })
            .collect();
        let (mut tcp, mut udp, mut written) = (Default::default(), Default::default(), Vec::new());
        handle_gro(&mut buffers, VIRTIO_NET_HDR_LEN, &mut tcp, &mut udp, true, &mut written).unwrap();
        let theirs: Vec<(Offload, Vec<u8>)> = written
            .into_iter()
            .map(|index| {
                let (header, packet) = buffers[index].split_at(VIRTIO_NET_HDR_LEN);
                let mut offload = Offload::parse(header.try_into().unwrap()).unwrap();
                if offload == Offload::default() {
                    offload = Offload::VALID;
                }
                (offload, packet.to_vec())
            })
            .collect();
        assert!(ours.len() < 30, "{} items", ours.len());
        let offloads = |items: &[(Offload, Vec<u8>)]| items.iter().map(|item| item.0).collect::<Vec<_>>();
        assert_eq!(offloads(&ours), offloads(&theirs));
        assert!(ours == theirs, "{family:?}: the packets differ");
    }
}
