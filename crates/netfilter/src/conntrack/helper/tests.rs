//! FTP and TFTP through a table, over both families.

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::{Addr, Family, TcpFlags, checksum};

use super::super::{Config, ConnId, ExpectNat, Expectation, Tuple};
use super::ftp_text::{self, Form, Found};
use super::*;
use crate::{Hook, Interface};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;
const NOW: Now = Now::from_secs(100);

fn client(family: Family) -> Addr {
    addr(family, 1)
}

fn server(family: Family) -> Addr {
    addr(family, 2)
}

/// The address that the client has outside.
fn outside(family: Family) -> Addr {
    addr(family, 200)
}

fn addr(family: Family, last: u8) -> Addr {
    match family {
        Family::V4 => Addr::from(Ipv4Addr::new(10, 0, 0, last)),
        Family::V6 => Addr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last))),
    }
}

fn ip(family: Family, protocol: u8, src: Addr, dst: Addr, mut transport: Vec<u8>, check_at: usize) -> Packet {
    let check = checksum::transport(src, dst, protocol, &transport);
    transport[check_at..check_at + 2].copy_from_slice(&check.to_be_bytes());
    let mut data = match family {
        Family::V4 => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..4].copy_from_slice(&(20 + transport.len() as u16).to_be_bytes());
            src.write(&mut header[12..16]);
            dst.write(&mut header[16..20]);
            let check = checksum::checksum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            header
        }
        Family::V6 => {
            let mut header = vec![0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
            (header[6], header[7]) = (protocol, 64);
            src.write(&mut header[8..24]);
            dst.write(&mut header[24..40]);
            header
        }
    };
    data.extend(transport);
    Packet::received(data, Interface::new(1, "eth0").unwrap()).unwrap()
}

/// A control connection with what each side has sent.
struct Ftp {
    conntrack: Conntrack,
    family: Family,
    id: ConnId,
    next: [u32; 2],
    /// The client is seen as [`outside`] by the server.
    translated: bool,
}

impl Ftp {
    fn new(family: Family, translated: bool) -> Ftp {
        let mut conntrack = Conntrack::new(Config::default(), 1);
        let mut syn = segment(family, O, TcpFlags::SYN, 1_000, 0, b"", translated);
        assert_eq!(conntrack.track(&mut syn, Hook::Prerouting, NOW), Verdict::Accept);
        let PacketCt::Tracked { id, .. } = syn.ct else {
            panic!("not tracked: {:?}", syn.ct);
        };
        if translated {
            let mut reply = *conntrack.get(id).unwrap().tuple(R);
            reply.dst = outside(family);
            assert!(conntrack.alter_reply(id, reply));
            conntrack.get_mut(id).unwrap().status.set(Status::SRC_NAT);
        }
        conntrack.get_mut(id).unwrap().helper = Some(HelperKind::Ftp);
        conntrack.confirm(&mut syn, NOW);
        let mut ftp = Ftp {
            conntrack,
            family,
            id,
            next: [1_001, 5_000],
            translated,
        };
        ftp.pass(R, TcpFlags::SYN | TcpFlags::ACK, b"");
        ftp.next[1] += 1;
        ftp.pass(O, TcpFlags::ACK, b"");
        // The first line of each direction only tells where the next begins.
        assert_eq!(ftp.say(R, b"220 ready\r\n").1, Verdict::Accept);
        assert_eq!(ftp.say(O, b"USER x\r\n").1, Verdict::Accept);
        ftp
    }

    /// A segment through tracking, helper and adjustment; its payload counts as sent.
    fn pass(&mut self, direction: Direction, flags: u8, payload: &[u8]) -> (Packet, Verdict) {
        let here = direction.index();
        let (seq, ack) = (self.next[here], self.next[1 - here]);
        let mut packet = segment(self.family, direction, flags, seq, ack, payload, self.translated);
        assert_eq!(self.conntrack.track(&mut packet, Hook::Prerouting, NOW), Verdict::Accept);
        assert!(matches!(packet.ct, PacketCt::Tracked { .. }), "{direction:?} {payload:?}");
        self.next[here] = seq.wrapping_add(payload.len() as u32);
        let verdict = match help(&mut self.conntrack, &mut packet, NOW) {
            Verdict::Accept => adjust_sequence(&mut self.conntrack, &mut packet),
            other => other,
        };
        (packet, verdict)
    }

    fn say(&mut self, direction: Direction, payload: &[u8]) -> (Packet, Verdict) {
        self.pass(direction, TcpFlags::ACK | TcpFlags::PSH, payload)
    }

    fn expected(&self) -> Vec<Expectation> {
        self.conntrack.expectations().cloned().collect()
    }
}

fn segment(family: Family, direction: Direction, flags: u8, seq: u32, ack: u32, payload: &[u8], translated: bool) -> Packet {
    let mut tcp = vec![0; 20];
    let (sport, dport) = if direction == O { (4_000u16, 21u16) } else { (21, 4_000) };
    tcp[0..2].copy_from_slice(&sport.to_be_bytes());
    tcp[2..4].copy_from_slice(&dport.to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    (tcp[12], tcp[13]) = (5 << 4, flags);
    tcp[14..16].copy_from_slice(&8_000u16.to_be_bytes());
    tcp.extend_from_slice(payload);
    let (src, dst) = match direction {
        O => (client(family), server(family)),
        R if translated => (server(family), outside(family)),
        R => (server(family), client(family)),
    };
    ip(family, number::TCP, src, dst, tcp, 16)
}

fn text(packet: &Packet) -> String {
    String::from_utf8_lossy(&packet.transport()[20..]).into_owned()
}

fn assert_sums(packet: &Packet) {
    let mut again = packet.clone();
    again.reparse().unwrap();
    assert!(fielato_wire::Headers::receive(&packet.data).is_ok());
    let (src, dst) = (again.headers.src, again.headers.dst);
    assert_eq!(checksum::transport(src, dst, number::TCP, again.transport()), 0);
    assert_eq!(usize::from(again.headers.len), packet.data.len());
}

/// An announcement by the client, or by the server.
fn announcement(family: Family, direction: Direction, port: u16) -> Vec<u8> {
    let text = match (family, direction) {
        (Family::V4, O) => format!("PORT 10,0,0,1,{},{}\r\n", port >> 8, port & 255),
        (Family::V4, R) => format!("227 Entering Passive Mode (10,0,0,2,{},{}).\r\n", port >> 8, port & 255),
        (Family::V6, O) => format!("EPRT |2|2001:db8::1|{port}|\r\n"),
        (Family::V6, R) => format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"),
    };
    text.into_bytes()
}

#[test]
fn an_announcement_is_expected() {
    for family in FAMILIES {
        for direction in [O, R] {
            let mut ftp = Ftp::new(family, false);
            let line = announcement(family, direction, 5_001);
            let (packet, verdict) = ftp.say(direction, &line);
            assert_eq!((verdict, text(&packet).into_bytes()), (Verdict::Accept, line));
            let (from, to) = match direction {
                O => (server(family), client(family)),
                R => (client(family), server(family)),
            };
            let expected = ftp.expected();
            assert_eq!(expected.len(), 1);
            let tuple = Tuple {
                src: from,
                dst: to,
                sport: 0,
                dport: 5_001,
                protocol: number::TCP,
                family,
            };
            assert_eq!((expected[0].tuple, expected[0].sport_mask), (tuple, 0));
            assert_eq!((expected[0].master, expected[0].nat), (ftp.id, ExpectNat::None));
            assert_eq!(expected[0].deadline, NOW.mono + 300 * Now::SECOND);
        }
    }
}

#[test]
fn only_at_the_beginning_of_a_line() {
    for family in FAMILIES {
        let mut ftp = Ftp::new(family, false);
        // The line is still open: what follows does not begin one.
        ftp.say(O, b"STOR x");
        assert_eq!(ftp.say(O, &announcement(family, O, 5_001)).1, Verdict::Accept);
        assert!(ftp.expected().is_empty());
        // That ended it.
        ftp.say(O, &announcement(family, O, 5_002));
        assert_eq!(ftp.expected()[0].tuple.dport, 5_002);
    }
}

#[test]
fn an_announcement_in_parts_is_dropped() {
    for family in FAMILIES {
        for direction in [O, R] {
            let line = announcement(family, direction, 5_001);
            for cut in 1..line.len() - 2 {
                let mut ftp = Ftp::new(family, false);
                let (_, verdict) = ftp.say(direction, &line[..cut]);
                let whole = ftp.expected().len();
                if whole == 0 {
                    // A first byte of what may become one, or more.
                    assert_eq!(verdict, Verdict::Drop(DropReason::Helper), "{:?}", &line[..cut]);
                } else {
                    // All that counts was there.
                    assert_eq!(verdict, Verdict::Accept);
                    assert_eq!(whole, 1);
                }
            }
        }
    }
}

#[test]
fn only_for_the_sender_itself() {
    let mut v4 = Ftp::new(Family::V4, false);
    assert_eq!(v4.say(O, b"PORT 10,0,0,9,19,137\r\n").1, Verdict::Accept);
    assert_eq!(v4.say(R, b"227 ok 10,0,0,9,19,137.\r\n").1, Verdict::Accept);
    assert!(v4.expected().is_empty());
    let mut v6 = Ftp::new(Family::V6, false);
    assert_eq!(v6.say(O, b"EPRT |2|2001:db8::9|5001|\r\n").1, Verdict::Accept);
    assert_eq!(v6.say(O, b"PORT 10,0,0,1,19,137\r\n").1, Verdict::Accept);
    assert!(v6.expected().is_empty());
}

#[test]
fn under_nat_the_announcement_names_the_outside() {
    for family in FAMILIES {
        let mut ftp = Ftp::new(family, true);
        let line = announcement(family, O, 5_001);
        let (packet, verdict) = ftp.say(O, &line);
        assert_eq!(verdict, Verdict::Accept);
        let told = match family {
            Family::V4 => "PORT 10,0,0,200,19,137\r\n",
            Family::V6 => "EPRT |2|2001:0db8:0000:0000:0000:0000:0000:00c8|5001|\r\n",
        };
        assert_eq!(text(&packet), told);
        assert_sums(&packet);
        let expected = ftp.expected();
        assert_eq!((expected[0].tuple.dst, expected[0].tuple.dport), (outside(family), 5_001));
        let follow = ExpectNat::Follow {
            direction: R,
            saved_addr: client(family),
            saved_port: 5_001,
        };
        assert_eq!(expected[0].nat, follow);

        let number = |packet: &Packet, at: usize| u32::from_be_bytes(*packet.transport()[at..].first_chunk().unwrap());
        // The announcement again: it is the same segment, nothing moves further.
        ftp.next[0] -= line.len() as u32;
        let again = ftp.next[0];
        let (packet, _) = ftp.say(O, &line);
        assert_eq!((text(&packet).as_str(), number(&packet, 4)), (told, again));

        // What follows is moved; the server's ACKs are moved back.
        let delta = told.len() as u32 - line.len() as u32;
        let sent = ftp.next[0];
        let (packet, _) = ftp.say(O, b"LIST\r\n");
        assert_eq!(number(&packet, 4), sent + delta);
        assert_sums(&packet);
        ftp.next[0] += delta; // As the server has it.
        let (packet, _) = ftp.say(R, b"150 ok\r\n");
        assert_eq!(number(&packet, 8), ftp.next[0] - delta);
        assert_sums(&packet);
        ftp.next[0] -= delta;
    }
}

#[test]
fn under_nat_a_port_in_use_gives_another() {
    for family in FAMILIES {
        let mut ftp = Ftp::new(family, true);
        // Somebody else behind the same address expects the same.
        let mut other = segment(family, O, TcpFlags::SYN, 7, 0, b"", true);
        other.data[usize::from(other.headers.l4) + 1] ^= 1;
        other.reparse().unwrap();
        ftp.conntrack.config_mut().checksum = false;
        ftp.conntrack.track(&mut other, Hook::Prerouting, NOW);
        ftp.conntrack.confirm(&mut other, NOW);
        let PacketCt::Tracked { id, .. } = other.ct else {
            panic!("not tracked");
        };
        let mut probe = Ftp::new(family, true);
        probe.say(O, &announcement(family, O, 5_001));
        let taken = Expectation {
            master: id,
            ..probe.expected().remove(0)
        };
        ftp.conntrack.expect(taken).unwrap();

        let (packet, verdict) = ftp.say(O, &announcement(family, O, 5_001));
        assert_eq!(verdict, Verdict::Accept);
        let own: Vec<_> = ftp.expected().into_iter().filter(|own| own.master == ftp.id).collect();
        let port = own[0].tuple.dport;
        assert!(port > 5_001);
        let told = match family {
            Family::V4 => format!("{},{}\r\n", port >> 8, port & 255),
            Family::V6 => format!("|{port}|\r\n"),
        };
        assert!(text(&packet).ends_with(&told));
        assert_sums(&packet);
    }
}

#[test]
fn the_expected_connection_follows_its_master() {
    for family in FAMILIES {
        let mut ftp = Ftp::new(family, true);
        ftp.say(O, &announcement(family, O, 5_001));
        // The server connects to what it was told.
        let mut tcp = vec![
            0,
            20,
            0x13,
            0x89,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            5 << 4,
            TcpFlags::SYN,
            16,
            0,
            0,
            0,
            0,
            0,
        ];
        tcp[2..4].copy_from_slice(&5_001u16.to_be_bytes());
        let mut packet = ip(family, number::TCP, server(family), outside(family), tcp, 16);
        ftp.conntrack.track(&mut packet, Hook::Prerouting, NOW);
        let PacketCt::Tracked { id, state, .. } = packet.ct else {
            panic!("not tracked");
        };
        assert_eq!(state, CtState::Related);
        crate::nat::follow_master(&mut ftp.conntrack, id, &mut fastrand::Rng::with_seed(1));
        let reply = *ftp.conntrack.get(id).unwrap().tuple(R);
        assert_eq!((reply.src, reply.sport), (client(family), 5_001));
        assert_eq!((reply.dst, reply.dport), (server(family), 20));
        assert_eq!(
            crate::nat::translate(&ftp.conntrack, &mut packet, Hook::Prerouting),
            Verdict::Accept
        );
        assert_eq!((packet.headers.dst, packet.headers.dport), (client(family), 5_001));
        assert_sums(&packet);
    }
}

#[test]
fn announcements_by_table() {
    let own = client(Family::V4);
    let own6 = client(Family::V6);
    let whole = |found: Found| match found {
        Found::Whole(found) => Some((found.form, found.place, found.port)),
        _ => None,
    };
    for (direction, family, text, expected) in [
        (O, Family::V4, "PORT 10,0,0,1,1,2\r\n", Some((Form::Port, 5..17, 258))),
        (O, Family::V4, "port   10,0,0,1,1,2\r\n", None),
        (O, Family::V4, "PORT 10,0,0,1,1\r\n", None),
        (O, Family::V4, "PORT 10,0,0,1,1,2\n", None),
        (
            O,
            Family::V4,
            "EPRT |1|10.0.0.1|6275|\r\n",
            Some((Form::ExtendedPort, 5..22, 6_275)),
        ),
        (
            O,
            Family::V4,
            "EPRT !1!10.0.0.1!6275!\r\n",
            Some((Form::ExtendedPort, 5..22, 6_275)),
        ),
        (O, Family::V4, "EPRT |2|10.0.0.1|6275|\r\n", None),
        (O, Family::V4, "EPRT |1|10.0.0.1|0|\r\n", None),
        (
            O,
            Family::V6,
            "EPRT |2|2001:db8::1|6275|\r\n",
            Some((Form::ExtendedPort, 5..25, 6_275)),
        ),
        (O, Family::V6, "EPRT |2|2001:db8:::1|6275|\r\n", None),
        (
            R,
            Family::V4,
            "227 Entering (10,0,0,2,1,2)\r\n",
            Some((Form::Passive, 14..26, 258)),
        ),
        (R, Family::V4, "227 =10,0,0,2,1,2\r\n", Some((Form::Passive, 5..17, 258))),
        (
            R,
            Family::V4,
            "229 Extended (|||6446|)\r\n",
            Some((Form::ExtendedPassive, 14..22, 6_446)),
        ),
        (
            R,
            Family::V6,
            "229 Extended (|||6446|)\r\n",
            Some((Form::ExtendedPassive, 14..22, 6_446)),
        ),
        (R, Family::V4, "229 Extended (111644661)\r\n", None),
    ] {
        let own = if family == Family::V4 { own } else { own6 };
        assert_eq!(
            whole(ftp_text::find(text.as_bytes(), direction, family, own)),
            expected,
            "{text:?}"
        );
    }
}

/// Lines as Linux 6.18 passed them on, where source NAT shows the client as [`outside`]: family, direction, the line, and what came
/// out, in hex.
const KERNEL: &str = include_str!("ftp-6.18.txt");

#[test]
fn the_kernel_rewrites_the_same() {
    let text = |hex: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    for (number, case) in KERNEL.lines().enumerate() {
        let words: Vec<&str> = case.split(' ').collect();
        let [family, direction, line, result] = words[..] else {
            panic!("line {number}: {case}");
        };
        let family = if family == "v4" { Family::V4 } else { Family::V6 };
        let mut ftp = Ftp::new(family, true);
        let line = text(line);
        let (packet, verdict) = ftp.say(if direction == "0" { O } else { R }, &line);
        let found = (verdict == Verdict::Accept).then(|| packet.transport()[20..].to_vec());
        let expected = match result {
            "drop" => None,
            "same" => Some(line.clone()),
            other => Some(text(other)),
        };
        let show = |text: &Option<Vec<u8>>| text.as_deref().map(|text| text.escape_ascii().to_string());
        assert_eq!(show(&found), show(&expected), "line {}: {}", number + 1, line.escape_ascii());
    }
}

#[test]
fn no_line_panics() {
    let mut rng = fastrand::Rng::with_seed(11);
    let words: [&[u8]; 12] = [
        b"PORT ",
        b"EPRT ",
        b"227 ",
        b"229 ",
        b"|",
        b"(",
        b",",
        b"1",
        b"2",
        b"\r\n",
        b"99999999999",
        b"2001:db8::1",
    ];
    for _ in 0..50_000 {
        let mut line = Vec::new();
        for _ in 0..rng.usize(..14) {
            match rng.usize(..words.len() + 1) {
                word if word < words.len() => line.extend_from_slice(words[word]),
                _ => line.push(rng.u8(..)),
            }
        }
        for family in FAMILIES {
            for direction in [O, R] {
                if let Found::Whole(found) = ftp_text::find(&line, direction, family, client(family)) {
                    assert!(found.place.end <= line.len() && found.place.start < found.place.end);
                }
            }
        }
    }
}

#[test]
fn a_tftp_request_is_answered_from_any_port() {
    for family in FAMILIES {
        for (opcode, expected) in [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)] {
            let mut conntrack = Conntrack::new(Config::default(), 1);
            let mut udp = vec![0x0f, 0xa0, 0, 69, 0, 0, 0, 0, 0, opcode];
            udp.extend_from_slice(b"file\0octet\0");
            let len = udp.len() as u16;
            udp[4..6].copy_from_slice(&len.to_be_bytes());
            let mut packet = ip(family, number::UDP, client(family), server(family), udp, 6);
            conntrack.track(&mut packet, Hook::Prerouting, NOW);
            let PacketCt::Tracked { id, .. } = packet.ct else {
                panic!("not tracked");
            };
            conntrack.get_mut(id).unwrap().helper = Some(HelperKind::Tftp);
            assert_eq!(help(&mut conntrack, &mut packet, NOW), Verdict::Accept);
            let found: Vec<_> = conntrack.expectations().cloned().collect();
            assert_eq!(found.len(), expected);
            if let [found] = &found[..] {
                assert_eq!((found.tuple.src, found.tuple.dst), (server(family), client(family)));
                assert_eq!((found.tuple.dport, found.sport_mask), (4_000, 0));
            }
        }
    }
}
