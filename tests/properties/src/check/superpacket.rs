//! Superpackets of any bytes are cut safely, and what is joined from any packets is cut into as many again.

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::gro::Coalescer;
use fielato_wire::gso::Segments;

use fielato_wire::{Family, OFFLOAD_LEN, Offload};

use crate::machine;
use crate::source::Source;

/// Most packets of a batch.
const PACKETS: usize = 64;

/// A header and a packet as they may come from a TUN interface, or packets as they may come from a peer.
pub fn superpacket(data: &[u8]) {
    let mut source = Source::new(data);
    if source.flag() {
        let offload = std::array::from_fn::<u8, { OFFLOAD_LEN }, _>(|_| source.byte());
        if let Ok(offload) = Offload::parse(&offload) {
            assert_eq!(Offload::parse(&offload.emit()), Ok(offload));
            cut(source.rest(), &offload);
        }
    } else {
        join(&mut source);
    }
}

/// The packets for the wire; nothing when the packet is not what its header says.
fn cut(packet: &[u8], offload: &Offload) -> Option<Vec<Vec<u8>>> {
    let mut segments = Segments::new(packet, offload).ok()?;
    let (count, most) = (segments.count(), segments.max_len());
    assert!(
        count <= packet.len().max(1) && most <= packet.len(),
        "{count} packets of {most} bytes"
    );
    let mut out = vec![0; most];
    let mut packets = vec![];
    while let Some(len) = segments.write_next(&mut out) {
        packets.push(out[..len].to_vec());
    }
    assert_eq!(packets.len(), count, "as many as were announced");
    Some(packets)
}

fn join(source: &mut Source<'_>) {
    let mut coalescer = Coalescer::new(source.below(70), source.flag());
    // Two batches: what is left of the first must not show in the second.
    for _ in 0..2 {
        let (mut buffer, mut given) = (vec![], vec![]);
        let mut seq = 1000;
        for _ in 0..PACKETS {
            if source.is_empty() {
                break;
            }
            let packet = packet(source, &mut seq);
            let range = buffer.len()..buffer.len() + packet.len();
            buffer.extend_from_slice(&packet);
            if coalescer.push(&buffer, range).is_ok() {
                given.push(packet);
            }
        }
        let before = buffer.clone();
        let mut count = 0;
        for item in coalescer.finish(&mut buffer) {
            count += item.parts.len();
            let whole: Vec<u8> = item
                .parts
                .iter()
                .flat_map(|part| buffer[part.clone()].iter().copied())
                .collect();
            let Some(first) = item.parts.first() else {
                panic!("an item of nothing")
            };
            if item.parts.len() == 1 {
                assert_eq!(whole, before[first.clone()], "who stands alone is not changed");
                continue;
            }
            let again = cut(&whole, &item.offload).expect("what was joined can be cut");
            assert_eq!(again.len(), item.parts.len());
            // The first part has its headers, whose checksum may have been wrong.
            let size = item
                .offload
                .segmentation
                .map_or(0, |segmentation| usize::from(segmentation.size));
            for (packet, part) in again.iter().zip(item.parts) {
                let payload = &before[part.end - part.len().min(size)..part.end];
                assert!(packet.ends_with(payload), "each has its payload");
            }
        }
        assert_eq!(count, given.len(), "all that was taken is there, once");
    }
}

/// Mostly a segment or datagram that follows the one before.
fn packet(source: &mut Source<'_>, seq: &mut u32) -> Vec<u8> {
    let control = source.byte();
    let family = if control & 1 == 0 { Family::V4 } else { Family::V6 };
    let mut ip = Ip::new(family, machine::inside(family, 1), machine::outside(family, 2));
    ip.dont_fragment = true;
    let payload = vec![control; usize::from(source.byte() >> 3) * 8];
    let mut packet = if control & 2 == 0 {
        let mut segment = Tcp::new(1, 2 + u16::from(control >> 7)).seq(*seq).ack(1);
        if control & 0x0c == 0x0c {
            segment.flags.0 = source.byte();
        }
        *seq = seq.wrapping_add(payload.len() as u32);
        ip.tcp(&segment.payload(payload))
    } else {
        ip.udp(1, 2 + u16::from(control >> 7), &payload)
    };
    if control & 0x70 == 0x70 {
        let at = source.below(80).min(packet.len() - 1);
        packet[at] = source.byte();
        packet.truncate(usize::from(source.word()).max(1));
    }
    packet
}
