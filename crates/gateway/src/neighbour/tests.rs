use super::*;

const OWN: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 9];
const START: Now = Now::from_secs(1000);

fn neighbours(settings: Settings) -> Neighbours {
    let addresses = ["192.0.2.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()];
    Neighbours::new(OWN, &addresses, settings)
}

fn packet(number: u8) -> EgressPacket {
    EgressPacket {
        buffer: Buffer::from(vec![0x45, number]),
        priority: 0,
        mark: 0,
        next_hop: None,
        source: None,
    }
}

fn hops() -> [IpAddr; 2] {
    ["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()]
}

/// What the neighbour answers to a question.
fn answer(question: Buffer, mac: Mac) -> (Frame, Vec<u8>) {
    let frame = Frame::parse(&question.data).unwrap();
    let data = Frame::unwrap(question).data;
    let data = match frame.kind {
        EtherType::Arp => {
            let request = Arp::parse(&data).unwrap();
            assert_eq!(
                (request.operation, request.sender),
                (Operation::Request, (OWN, Ipv4Addr::new(192, 0, 2, 1)))
            );
            let reply = Arp {
                operation: Operation::Reply,
                sender: (mac, request.target.1),
                target: request.sender,
            };
            reply.emit()
        }
        EtherType::Ipv6 => {
            let Parsed::Message(Message::Solicitation {
                from,
                target,
                mac: Some(OWN),
            }) = ndp::parse(&data)
            else {
                panic!("a solicitation was to be sent");
            };
            ndp::advertisement(target, from, mac)
        }
        EtherType::Ipv4 => panic!("no question is IPv4"),
    };
    let frame = Frame {
        destination: OWN,
        source: mac,
        kind: frame.kind,
    };
    (frame, data)
}

fn hear(table: &mut Neighbours, (frame, data): &(Frame, Vec<u8>), now: Now) -> Vec<EgressPacket> {
    match frame.kind {
        EtherType::Arp => table.handle_arp(frame, data, now).unwrap(),
        _ => table.handle_ndp(data, now).unwrap().unwrap(),
    }
}

#[test]
fn a_neighbour_is_found_before_packets_leave() {
    for hop in hops() {
        let mut table = neighbours(Settings::default());
        for number in 0..5 {
            let resolved = table.resolve(hop, packet(number), START);
            let kept = number < 3;
            assert!(matches!(resolved, Resolved::Waits) == kept, "{resolved:?}");
        }
        let question = table.next_frame().unwrap();
        assert!(table.next_frame().is_none(), "one question for all of them");
        let waited = hear(&mut table, &answer(question, OTHER), START);
        // The oldest gave way.
        let numbers: Vec<u8> = waited.iter().map(|packet| packet.buffer.data[1]).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert!(waited.iter().all(|packet| packet.next_hop == Some(OTHER)));
        assert!(matches!(table.resolve(hop, packet(9), START), Resolved::Ready(packet) if packet.next_hop == Some(OTHER)));
        assert_eq!(table.poll_timeout(), None);

        // Later it is asked again while packets go to it; without an answer it is forgotten.
        let later = START.plus(31 * Now::SECOND);
        assert!(matches!(table.resolve(hop, packet(9), later), Resolved::Ready(_)));
        let question = table.next_frame().unwrap();
        assert_eq!(Frame::parse(&question.data).unwrap().destination, OTHER);
        hear(&mut table, &answer(question, OTHER), later);
        assert_eq!(table.poll_timeout(), None);
        let later = later.plus(31 * Now::SECOND);
        table.resolve(hop, packet(9), later);
        for second in 1..=3 {
            assert!(table.handle_timeout(later.plus(second * Now::SECOND)).is_empty());
        }
        assert_eq!((table.len(), table.timers.len()), (0, 0));
    }
}

#[test]
fn who_does_not_answer_is_asked_three_times() {
    for hop in hops() {
        let mut table = neighbours(Settings::default());
        table.resolve(hop, packet(1), START);
        let mut questions = 0;
        for tick in 0..40 {
            let now = START.plus(tick * Now::SECOND / 10);
            let failed = table.handle_timeout(now);
            questions += std::iter::from_fn(|| table.next_frame()).count();
            assert_eq!(failed.len(), usize::from(tick == 30));
        }
        assert_eq!((questions, table.len(), table.poll_timeout()), (3, 0, None));
    }
}

#[test]
fn only_questions_about_own_addresses_are_answered() {
    let mut table = neighbours(Settings::default());
    let everybody = Frame {
        destination: [0xff; 6],
        source: OTHER,
        kind: EtherType::Arp,
    };
    let request = |sender: [u8; 4], target: [u8; 4]| Arp {
        operation: Operation::Request,
        sender: (OTHER, sender.into()),
        target: ([0; 6], target.into()),
    };
    for (sender, target, answers, known) in [
        ([192, 0, 2, 9], [192, 0, 2, 7], false, 0),
        ([192, 0, 2, 9], [192, 0, 2, 9], false, 0),
        // A probe for a duplicate address is answered, and nobody learned of.
        ([0, 0, 0, 0], [192, 0, 2, 1], true, 0),
        ([192, 0, 2, 9], [192, 0, 2, 1], true, 1),
    ] {
        table.handle_arp(&everybody, &request(sender, target).emit(), START).unwrap();
        assert_eq!(
            (table.next_frame().is_some(), table.len()),
            (answers, known),
            "{sender:?} {target:?}"
        );
    }
    // Somebody claims our address, or a group's.
    for sender in [[192, 0, 2, 1], [224, 0, 0, 1], [127, 0, 0, 1]] {
        let claim = request(sender, [192, 0, 2, 1]).emit();
        assert_eq!(
            table.handle_arp(&everybody, &claim, START).err(),
            Some(DropReason::BadNeighbourMessage)
        );
    }
    let from: Ipv6Addr = "fe80::9".parse().unwrap();
    for (target, answers) in [("2001:db8::1", true), ("2001:db8::2", false), ("fe80::ff:fe00:1", true)] {
        let target: Ipv6Addr = target.parse().unwrap();
        let question = ndp::solicitation(from, ndp::solicited_node(target), target, OTHER);
        table.handle_ndp(&question, START).unwrap().unwrap();
        assert_eq!(table.next_frame().is_some(), answers, "{target}");
    }
}

#[test]
fn a_neighbour_that_moves_is_followed_and_an_unasked_claim_makes_nobody_known() {
    let [v4, _] = hops();
    let mut table = neighbours(Settings::default());
    let everybody = Frame {
        destination: [0xff; 6],
        source: OTHER,
        kind: EtherType::Arp,
    };
    let gratuitous = |mac| Arp {
        operation: Operation::Request,
        sender: (mac, Ipv4Addr::new(192, 0, 2, 9)),
        target: ([0; 6], Ipv4Addr::new(192, 0, 2, 9)),
    };
    table.handle_arp(&everybody, &gratuitous(OTHER).emit(), START).unwrap();
    assert_eq!(table.len(), 0);
    table.resolve(v4, packet(1), START);
    let question = table.next_frame().unwrap();
    hear(&mut table, &answer(question, OTHER), START);
    let moved = [2, 0, 0, 0, 0, 0x77];
    table.handle_arp(&everybody, &gratuitous(moved).emit(), START).unwrap();
    assert!(matches!(table.resolve(v4, packet(1), START), Resolved::Ready(packet) if packet.next_hop == Some(moved)));
}

#[test]
fn the_table_is_bounded() {
    let settings = Settings {
        max: 10,
        ..Settings::default()
    };
    let mut table = neighbours(settings);
    let mut dropped = 0;
    for number in 0..2_000_u32 {
        let hop = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)));
        dropped += usize::from(matches!(table.resolve(hop, packet(1), START), Resolved::Dropped(_)));
        assert!(table.len() <= 10 && table.timers.len() <= 10 && table.outbox.len() <= OUTBOX);
    }
    assert_eq!(dropped, 1990);
    for second in 0..9 {
        table.handle_timeout(START.plus(second * Now::SECOND));
    }
    assert_eq!((table.len(), table.timers.len()), (0, 0));
    // Stale ones give way to others.
    for number in 0..100_u8 {
        let request = Arp {
            operation: Operation::Request,
            sender: (OTHER, Ipv4Addr::new(192, 0, 2, number.max(2))),
            target: ([0; 6], Ipv4Addr::new(192, 0, 2, 1)),
        };
        let frame = Frame {
            destination: OWN,
            source: OTHER,
            kind: EtherType::Arp,
        };
        table.handle_arp(&frame, &request.emit(), START).unwrap();
        assert!(table.len() <= 10);
    }
}
