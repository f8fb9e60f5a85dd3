use super::*;
use crate::build::Ip;

fn interfaces() -> [Interface; 2] {
    let interface = |name: &str, link| Interface {
        name: name.into(),
        description: "a place".into(),
        link,
        snaplen: 96,
        filter: "host 10.0.0.1".into(),
    };
    [
        interface("wg0 (clear)", LinkType::Raw),
        interface("eth0 (cipher)", LinkType::Ethernet),
    ]
}

fn random_packet<'a>(rng: &mut fastrand::Rng, bytes: &'a [u8]) -> Packet<'a> {
    let captured = rng.usize(..=bytes.len());
    Packet {
        interface: rng.u32(..2),
        at: Duration::from_nanos(rng.u64(..)),
        bytes: &bytes[..captured],
        original_len: rng.u32(captured as u32..),
        direction: [None, Some(Direction::Inbound), Some(Direction::Outbound)][rng.usize(..3)],
        verdict: [None, Some(Verdict::Passed), Some(Verdict::Dropped)][rng.usize(..3)],
        lost: rng.u64(..3),
        comments: (0..rng.usize(..3))
            .map(|_| (0..rng.usize(1..40)).map(|_| rng.char(..)).collect())
            .collect(),
    }
}

#[test]
fn reads_what_it_wrote() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let bytes: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
        let mut wanted = vec![Block::Section {
            application: "test".into(),
        }];
        let mut file = section("test");
        for described in interfaces() {
            file.extend(interface(&described));
            wanted.push(Block::Interface(described));
        }
        for _ in 0..rng.usize(..5) {
            let one = random_packet(&mut rng, &bytes);
            file.extend(packet(&one));
            wanted.push(Block::Packet(one));
        }
        let counted = Statistics {
            interface: 1,
            started: Duration::from_nanos(rng.u64(..)),
            ended: Duration::from_nanos(rng.u64(..)),
            received: rng.u64(..),
            accepted: rng.u64(..),
            lost: rng.u64(..),
            delivered: rng.u64(..),
        };
        file.extend(statistics(&counted));
        wanted.push(Block::Statistics(counted));
        let read: Vec<_> = blocks(&file).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, wanted);

        // Cut anywhere: whole blocks, then one error or the end.
        let cut = rng.usize(..file.len());
        let read: Vec<_> = blocks(&file[..cut]).collect();
        let whole = read.iter().take_while(|block| block.is_ok()).count();
        assert!(read.len() <= whole + 1 && whole < wanted.len());
        for (block, wanted) in read.iter().flatten().zip(&wanted) {
            assert_eq!(block, wanted);
        }
    }
}

#[test]
fn survives_any_bytes() {
    let mut rng = fastrand::Rng::with_seed(8);
    let mut file = section("x");
    for described in interfaces() {
        file.extend(interface(&described));
    }
    let bytes = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(1, 2, b"x");
    let mut changed = 0;
    for _ in 0..5_000 {
        let mut damaged = file.clone();
        damaged.extend(packet(&random_packet(&mut rng, &bytes)));
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..damaged.len());
            damaged[at] = rng.u8(..);
        }
        changed += usize::from(blocks(&damaged).any(|block| block.is_err()));
    }
    assert!(changed > 1000, "most damage is noticed: {changed}");
}

#[test]
fn reads_the_other_byte_order_and_other_resolutions() {
    let block = |kind: u32, body: &[u8]| {
        let len = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes(), &len[..], body, &len].concat()
    };
    let header = [&BYTE_ORDER_MAGIC.to_be_bytes()[..], &[0, 1, 0, 0], &[0xff; 8]].concat();
    let option = |code: u16, value: u8| [&code.to_be_bytes()[..], &[0, 1, value, 0, 0, 0]].concat();
    // The stamp 0x0000_0001_0000_0400 in milliseconds, in 1024ths of a second, and, where nothing is said, in microseconds.
    let cases = [
        (option(IF_TSRESOL, 3), 0x1_0000_0400_u64 * 1_000_000),
        (option(IF_TSRESOL, 0x8a), 0x1_0000_0400 * 1_000_000_000 / 1024),
        (Vec::new(), 0x1_0000_0400 * 1000),
    ];
    for (resolution, nanos) in cases {
        let described = [&[0, 101, 0, 0, 0, 0, 0, 0], &resolution[..]].concat();
        let body = [
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4, 0, 0, 0, 0, 3, 0, 0, 0, 9][..],
            b"abc\0",
            &[0, 1, 0, 2, b'o', b'k', 0, 0, 0, 2, 0, 4, 0, 0, 0, 2],
        ]
        .concat();
        let file = [
            block(SECTION_HEADER, &header),
            block(INTERFACE_DESCRIPTION, &described),
            block(4, &[]),
            block(ENHANCED_PACKET, &body),
        ]
        .concat();
        let read: Vec<_> = blocks(&file).collect::<Result<_, _>>().unwrap();
        let Block::Packet(packet) = &read[3] else { panic!("{read:?}") };
        assert_eq!(read[2], Block::Other(4));
        assert_eq!((packet.bytes, packet.original_len), (&b"abc"[..], 9));
        assert_eq!(
            (packet.at, packet.direction),
            (Duration::from_nanos(nanos), Some(Direction::Outbound))
        );
        assert_eq!(packet.comments, ["ok"]);
    }
}

#[test]
fn refuses_what_cannot_be() {
    let only = |file: &[u8]| blocks(file).last().unwrap().unwrap_err();
    assert_eq!(only(&crate::pcap::header()), PcapngError::Magic(0xa1b2_3c4d));
    let section = section("x");
    let mut wrong = section.clone();
    wrong[8] = 0;
    assert_eq!(only(&wrong), PcapngError::ByteOrder(0));
    let mut wrong = section.clone();
    wrong[12] = 2;
    assert_eq!(only(&wrong), PcapngError::Version { at: 0, major: 2 });
    for len in [0, 8, 13, u32::MAX, 1 << 30] {
        let mut wrong = section.clone();
        wrong[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(matches!(
            only(&wrong),
            PcapngError::Length { at: 0, .. } | PcapngError::Cut(0)
        ));
    }
    let stray = packet(&random_packet(&mut fastrand::Rng::with_seed(1), b"packet"));
    let file = [&section[..], &stray].concat();
    assert!(matches!(only(&file), PcapngError::Interface { at, .. } if at == section.len()));
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = Packet {
        comments: vec!["ä".repeat(5000)],
        ..random_packet(&mut fastrand::Rng::with_seed(2), b"packet")
    };
    let mut file = section("x");
    for described in interfaces() {
        file.extend(interface(&described));
    }
    file.extend(packet(&long));
    let Some(Ok(Block::Packet(read))) = blocks(&file).last() else {
        panic!("no packet")
    };
    assert_eq!(read.comments, ["ä".repeat(2048)]);
}
