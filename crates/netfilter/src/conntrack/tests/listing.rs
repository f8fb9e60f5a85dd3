//! Listings and events. The lines are what conntrack 1.4.7 and Linux 6.18 printed of the same packets and entries.

use super::*;

fn conn(family: Family, protocol: u8, numbers: (u16, u16)) -> Conn {
    let original = Tuple {
        src: host(family, 1),
        dst: host(family, 2),
        sport: numbers.0,
        dport: numbers.1,
        protocol,
        family,
    };
    let mut conn = Conn::new(original, original.invert().unwrap());
    conn.deadline = at(29).mono;
    conn.counters[0].add(1, 29);
    conn
}

fn lines(conn: &Conn) -> [String; 2] {
    let record = table(10).record(conn);
    [record.conntrack_line(), record.proc_line()]
}

#[test]
fn lines_are_those_of_conntrack_and_proc() {
    let mut answered = conn(Family::V4, number::UDP, (5000, 5001));
    answered.counters[1].add(1, 29);
    answered.status.set(Status::SEEN_REPLY);
    assert_eq!(
        lines(&answered),
        [
            "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 packets=1 bytes=29 src=10.0.0.2 dst=10.0.0.1 \
             sport=5001 dport=5000 packets=1 bytes=29 mark=0 use=1",
            "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 packets=1 bytes=29 src=10.0.0.2 \
             dst=10.0.0.1 sport=5001 dport=5000 packets=1 bytes=29 mark=0 zone=0 use=2",
        ]
    );
    assert_eq!(
        lines(&conn(Family::V6, number::ICMPV6, (7107, 128 << 8))),
        [
            "icmpv6   58 29 src=2001:db8::1 dst=2001:db8::2 type=128 code=0 id=7107 packets=1 bytes=29 [UNREPLIED] \
             src=2001:db8::2 dst=2001:db8::1 type=129 code=0 id=7107 packets=0 bytes=0 mark=0 use=1",
            "ipv6     10 icmpv6   58 29 src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 \
             type=128 code=0 id=7107 packets=1 bytes=29 [UNREPLIED] src=2001:0db8:0000:0000:0000:0000:0000:0002 \
             dst=2001:0db8:0000:0000:0000:0000:0000:0001 type=129 code=0 id=7107 packets=0 bytes=0 mark=0 zone=0 use=2",
        ]
    );
    assert_eq!(
        lines(&conn(Family::V4, number::GRE, (0, 0x1234))),
        [
            "gre      47 29 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x1234 packets=1 bytes=29 [UNREPLIED] src=10.0.0.2 \
             dst=10.0.0.1 srckey=0x1234 dstkey=0x0 packets=0 bytes=0 mark=0 use=1",
            "ipv4     2 gre      47 29 timeout=30, stream_timeout=180 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x1234 \
             packets=1 bytes=29 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x1234 dstkey=0x0 packets=0 bytes=0 mark=0 \
             zone=0 use=2",
        ]
    );
    assert_eq!(
        lines(&conn(Family::V4, 50, (0, 0)))[0],
        "unknown  50 29 src=10.0.0.1 dst=10.0.0.2 packets=1 bytes=29 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 packets=0 bytes=0 \
         mark=0 use=1"
    );
}

#[test]
fn marks_zones_and_helpers_are_shown() {
    let mut own = conn(Family::V4, number::TCP, (1, 2));
    own.counters = Default::default();
    (own.mark, own.zone) = (7, Zone { id: 5, directions: 1 });
    assert_eq!(
        lines(&own),
        [
            "tcp      6 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=5 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 \
             dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 mark=7 use=1",
            "ipv4     2 tcp      6 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=5 packets=0 bytes=0 [UNREPLIED] \
             src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=0 bytes=0 mark=7 use=2",
        ]
    );
    own.zone = Zone { id: 6, directions: 0 };
    own.status.set(Status::SEEN_REPLY | Status::ASSURED);
    own.mark = 0;
    assert!(lines(&own)[0].ends_with("packets=0 bytes=0 [ASSURED] mark=0 zone=6 use=1"));
    assert!(lines(&own)[1].ends_with("packets=0 bytes=0 [ASSURED] mark=0 zone=6 use=2"));
    own.zone = Zone { id: 9, directions: 2 };
    own.helper = Some(HelperKind::Ftp);
    assert!(lines(&own)[0].ends_with("sport=2 dport=1 zone-reply=9 packets=0 bytes=0 [ASSURED] mark=0 helper=ftp use=1"));
    assert!(lines(&own)[1].ends_with("sport=2 dport=1 zone-reply=9 packets=0 bytes=0 [ASSURED] mark=0 use=2"));
}

#[test]
fn without_accounting_nothing_is_counted_or_shown() {
    let mut ct = table(10);
    ct.config_mut().acct = false;
    pass(&mut ct, &mut udp(Family::V4, (1, 5000), (2, 7)), at(1));
    let line = ct.records(Some(Family::V4)).next().unwrap().conntrack_line();
    assert_eq!(
        line,
        "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=7 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=7 dport=5000 \
         mark=0 use=1"
    );
    assert_eq!(ct.records(Some(Family::V6)).count(), 0);
}

fn expected(ct: &mut Conntrack, family: Family) -> Expectation {
    let mut packet = udp(family, (1, 42606), (2, 21));
    pass(ct, &mut packet, at(1));
    let master = id(&packet);
    Expectation {
        tuple: Tuple {
            src: host(family, 2),
            dst: host(family, 1),
            sport: 0,
            dport: 5282,
            protocol: number::TCP,
            family,
        },
        src_mask: Addr::mask(family, 128),
        sport_mask: 0,
        master,
        zone: Zone::default(),
        helper: None,
        class: HelperKind::Ftp,
        permanent: false,
        nat: ExpectNat::None,
        deadline: at(1).mono + HelperKind::Ftp.expect_timeout(),
    }
}

#[test]
fn expectations_are_listed() {
    let mut ct = table(10);
    let expectation = expected(&mut ct, Family::V4);
    ct.expect(expectation).unwrap();
    ct.expire(at(2), 0);
    let record = ct.expect_records().next().unwrap();
    assert_eq!(
        record.conntrack_line(),
        "299 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=5282 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 \
         dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 sport=42606 dport=21 class=0 helper=ftp"
    );
    assert_eq!(
        record.proc_line(),
        "299 l3proto = 2 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=5282 ftp"
    );
}

fn events(ct: &mut Conntrack) -> Vec<String> {
    std::iter::from_fn(|| ct.poll_event())
        .map(|event| event.to_string())
        .collect()
}

#[test]
fn events_tell_of_a_connections_life() {
    let mut ct = table(10);
    ct.listen(EventMask::ALL, 100);
    let mut question = udp(Family::V4, (1, 5000), (2, 5001));
    ct.track(&mut question, Hook::Prerouting, at(1));
    assert_eq!(events(&mut ct), [""; 0], "not before its packet has passed");
    ct.confirm(&mut question, at(1));
    pass(&mut ct, &mut udp(Family::V4, (1, 5000), (2, 5001)), at(1));
    pass(&mut ct, &mut udp(Family::V4, (2, 5001), (1, 5000)), at(1));
    pass(&mut ct, &mut udp(Family::V4, (2, 5001), (1, 5000)), at(1));
    ct.get_mut(id(&question)).unwrap().mark = 9;
    ct.note_change(id(&question), Changes(Changes::MARK));
    pass(&mut ct, &mut udp(Family::V4, (2, 5001), (1, 5000)), at(1));
    ct.expire(at(2), 0);
    ct.delete(id(&question));
    assert_eq!(
        events(&mut ct),
        [
            "    [NEW] udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 \
             sport=5001 dport=5000",
            " [UPDATE] udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 src=10.0.0.2 dst=10.0.0.1 sport=5001 \
             dport=5000",
            " [UPDATE] udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 src=10.0.0.2 dst=10.0.0.1 sport=5001 \
             dport=5000 mark=9",
            "[DESTROY] udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=5001 packets=2 bytes=56 src=10.0.0.2 \
             dst=10.0.0.1 sport=5001 dport=5000 packets=3 bytes=84 mark=9",
        ]
    );
}

#[test]
fn events_tell_of_expectations() {
    let mut ct = table(10);
    let expectation = expected(&mut ct, Family::V6);
    ct.listen(EventMask::EXPECT_NEW.or(EventMask::EXPECT_DESTROY), 100);
    let id = ct.expect(expectation).unwrap();
    ct.unexpect(id);
    let line = "300 proto=6 src=2001:db8::2 dst=2001:db8::1 sport=0 dport=5282 \
                mask-src=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff mask-dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff sport=0 \
                dport=65535 master-src=2001:db8::1 master-dst=2001:db8::2 sport=42606 dport=21 class=0 helper=ftp";
    assert_eq!(events(&mut ct), [format!("    [NEW] {line}"), format!("[DESTROY] {line}")]);
}

#[test]
fn events_can_be_chosen_and_are_bounded() {
    let mut ct = table(100);
    ct.listen(EventMask::NEW, 3);
    for port in 0..5 {
        pass(&mut ct, &mut udp(Family::V4, (1, port), (2, 7)), at(1));
    }
    ct.flush();
    assert_eq!((events(&mut ct).len(), ct.lost_events()), (3, 2));
    // A connection's own wishes (`--ctevents destroy`).
    ct.listen(EventMask::ALL, 100);
    let mut packet = udp(Family::V4, (1, 5), (2, 7));
    packet.template = Some(Box::new(Template {
        events: Some(u32::from(Changes::DESTROY)),
        ..Template::default()
    }));
    pass(&mut ct, &mut packet, at(1));
    ct.flush();
    let only = events(&mut ct);
    assert!(only.len() == 1 && only[0].starts_with("[DESTROY]"), "{only:?}");
    ct.listen(EventMask::NONE, 100);
    pass(&mut ct, &mut udp(Family::V4, (1, 5), (2, 7)), at(1));
    assert_eq!(ct.poll_event(), None);
}

#[test]
fn json_holds_what_the_lines_say() {
    let mut ct = table(10);
    let expectation = expected(&mut ct, Family::V4);
    ct.expect(expectation).unwrap();
    let mut ping = icmp(Family::V6, 1, 2, 128, 0, &[0, 7, 0, 1]);
    pass(&mut ct, &mut ping, at(1));
    let conn = ct.get_mut(id(&ping)).unwrap();
    conn.extra_mut().labels = 1 << 3 | 1 << 127;
    conn.zone = Zone { id: 0, directions: 2 };
    let listing = ct.listing(None);
    let text = serde_json::to_string(&listing).unwrap();
    assert_eq!(serde_json::from_str::<list::Listing>(&text).unwrap(), listing);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (value["version"].as_u64(), value["connections"].as_array().map(Vec::len)),
        (Some(1), Some(2))
    );
    let ping = &value["connections"][1];
    assert_eq!(
        (&ping["protocol"], &ping["labels"]),
        (&"icmpv6".into(), &serde_json::json!([3, 127]))
    );
    assert_eq!(
        ping["reply"],
        serde_json::json!({"src": "2001:db8::2", "dst": "2001:db8::1", "type": 129, "code": 0, "id": 7, "packets": 0, "bytes": 0})
    );
    assert_eq!(ping["zone_direction"], "reply");
    assert_eq!(value["expectations"][0]["master"]["sport"], 42606);
    assert_eq!(ct.listing(Some(Family::V6)).expectations, []);
}

#[test]
fn counters_can_be_zeroed() {
    let mut ct = table(10);
    let mut packet = udp(Family::V4, (1, 5000), (2, 7));
    pass(&mut ct, &mut packet, at(1));
    let before = ct.zero_counters(id(&packet)).unwrap();
    assert_eq!((before[0].packets, ct.of(&packet).unwrap().counters[0].packets), (1, 0));
}
