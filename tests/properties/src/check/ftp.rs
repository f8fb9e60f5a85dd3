//! What the FTP and TFTP helpers read, in chunks, while NAT changes addresses: each end hears all that the other said, once and in
//! order, and is acknowledged what it said itself, however much longer or shorter the helper made it on the way.

use std::sync::LazyLock;

use fielato_netfilter::conntrack::{Config, ConnId};
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Netfilter, Now, Packet, PacketCt, Ruleset};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, TcpFlags};

use crate::machine::{self, INSIDE, OUTSIDE};
use crate::source::Source;
use crate::sums;

const EXPECTATIONS: u32 = 4;
const CONNECTIONS: u32 = 8;
/// Most things said in one input.
const STEPS: usize = 64;

const HELPERS: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\n\
-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n";
const NAT: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n";

/// Where client and server are, and what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The client is inside, behind a masquerade.
    Masqueraded,
    /// The same without NAT.
    Plain,
    /// The server is inside, behind the router's address.
    Forwarded,
}

impl Way {
    const ALL: [Way; 3] = [Way::Masqueraded, Way::Plain, Way::Forwarded];

    /// The rules, read once.
    fn rules(self, family: Family) -> Ruleset {
        static RULES: LazyLock<[[Ruleset; 3]; 2]> =
            LazyLock::new(|| [Family::V4, Family::V6].map(|family| Way::ALL.map(|way| way.read(family))));
        RULES[family as usize][self as usize].clone()
    }

    fn read(self, family: Family) -> Ruleset {
        let nat = match self {
            Way::Masqueraded => format!("{NAT}-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n"),
            Way::Plain => String::new(),
            Way::Forwarded => {
                let server = machine::inside(family, 1).display(family);
                format!("{NAT}-A PREROUTING -i eth1 -p tcp --dport 21 -j DNAT --to-destination {server}\nCOMMIT\n")
            }
        };
        machine::rules(family, &format!("{HELPERS}{nat}"))
    }
}

/// One end of a control connection, all numbers as it counts them.
#[derive(Clone)]
struct End {
    address: Addr,
    port: u16,
    by: u32,
    /// Whom it talks to.
    peer: (Addr, u16),
    /// Its next byte's number.
    seq: u32,
    /// The number up to which it has heard the other.
    heard: u32,
    /// What it said last, and what of that was heard.
    last: Option<[(u32, Vec<u8>); 2]>,
}

struct Talk {
    netfilter: Netfilter,
    family: Family,
    way: Way,
    now: Now,
    /// Client and server.
    ends: [End; 2],
    /// The control connection.
    id: Option<ConnId>,
    /// Each end has said only what comes next, or what it said before.
    exact: bool,
}

/// A segment's sequence number, its acknowledgement and its payload.
fn numbers(packet: &Packet) -> (u32, u32, Vec<u8>) {
    let tcp = packet.transport();
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    (word(4), word(8), tcp[usize::from(tcp[12] >> 4) * 4..].to_vec())
}

impl Talk {
    /// Sends a segment from an end; gives back the packet as the other end sees it.
    fn send(&mut self, from: usize, seq: u32, tcp: Tcp) -> Option<Packet> {
        let end = &self.ends[from];
        let tcp = Tcp {
            sport: end.port,
            dport: end.peer.1,
            ..tcp.seq(seq)
        };
        let packet = Ip::new(self.family, end.address, end.peer.0).tcp(&tcp);
        let fate = machine::receive(&mut self.netfilter, packet, end.by, self.now)?;
        let passed = machine::passed(fate)?;
        sums::assert_sound(&passed);
        let expected = self.netfilter.conntrack().expectation_count();
        assert!(expected <= EXPECTATIONS, "{expected} expectations");
        // A connection that was forgotten meanwhile and begins anew has lost its numbers.
        let PacketCt::Tracked { id, .. } = passed.ct else {
            self.exact = false;
            return Some(passed);
        };
        self.exact &= *self.id.get_or_insert(id) == id;
        Some(passed)
    }

    fn segment(&self, from: usize, flags: u8) -> Tcp {
        Tcp::new(0, 0).ack(self.ends[from].heard).flags(flags)
    }

    fn handshake(&mut self) {
        let start = self.ends[0].seq;
        let Some(syn) = self.send(0, start, Tcp::new(0, 0).syn()) else {
            panic!("the first SYN passes");
        };
        let server = &mut self.ends[1];
        server.address = syn.headers.dst;
        server.peer = (syn.headers.src, syn.headers.sport);
        for end in &mut self.ends {
            end.heard = start.wrapping_add(1);
        }
        let answer = self.segment(1, TcpFlags::SYN | TcpFlags::ACK);
        assert!(self.send(1, start, answer).is_some(), "the SYN's answer passes");
        for end in &mut self.ends {
            end.seq = start.wrapping_add(1);
        }
        let last = self.segment(0, TcpFlags::ACK);
        assert!(self.send(0, self.ends[0].seq, last).is_some(), "the handshake's end passes");
    }

    /// Says something; the other end hears it and says so.
    fn say(&mut self, from: usize, payload: &[u8], with_sack: bool) {
        let seq = self.ends[from].seq;
        let segment = self.segment(from, TcpFlags::PSH | TcpFlags::ACK).payload(payload);
        let Some(passed) = self.send(from, seq, segment) else {
            return;
        };
        let (moved, _, said) = numbers(&passed);
        if self.exact {
            assert_eq!(moved, self.ends[1 - from].heard, "a hole or an overlap");
            self.assert_changed_with_reason(payload, &said);
        }
        let end = &mut self.ends[from];
        end.seq = seq.wrapping_add(payload.len() as u32);
        let heard = moved.wrapping_add(said.len() as u32);
        end.last = Some([(seq, payload.to_vec()), (moved, said)]);
        self.ends[1 - from].heard = heard;
        let mut ack = self.segment(1 - from, TcpFlags::ACK);
        if with_sack {
            ack = ack.options([&[1, 1, 5, 10][..], &heard.to_be_bytes(), &heard.to_be_bytes()].concat());
        }
        let Some(ack) = self.send(1 - from, self.ends[1 - from].seq, ack) else {
            return;
        };
        let (_, acknowledged, _) = numbers(&ack);
        if self.exact {
            let seq = self.ends[from].seq;
            assert_eq!(acknowledged, seq, "all that was said is acknowledged");
            if with_sack {
                assert_eq!(ack.transport()[24..32], [seq.to_be_bytes(), seq.to_be_bytes()].concat());
            }
        }
    }

    /// What is heard is what was said but for an announcement, which says where something is expected.
    fn assert_changed_with_reason(&self, payload: &[u8], said: &[u8]) {
        if payload == said {
            return;
        }
        assert_ne!(self.way, Way::Plain, "nothing is changed without NAT");
        let heard = String::from_utf8_lossy(said);
        let told = self.netfilter.conntrack().expectations().any(|expected| {
            let (address, port) = (expected.tuple.dst.to_ip(self.family), expected.tuple.dport);
            let commas = format!("{},{},{}", address.to_string().replace('.', ","), port >> 8, port & 255);
            // RFC 2428: the client's says its address, the server's only the port.
            let fields: Vec<&str> = heard.split('|').collect();
            let says = |fields: &[&str]| {
                let is_address = fields[0].is_empty() || fields[0].parse() == Ok(address);
                is_address && fields[1].parse() == Ok(port)
            };
            heard.contains(&commas) || fields.windows(2).any(says)
        });
        assert!(told, "{heard:?} announces nothing that is expected");
    }

    /// Says the last thing again: it is heard again.
    fn repeat(&mut self, from: usize) {
        let Some([(seq, payload), heard]) = self.ends[from].last.clone() else {
            return;
        };
        let segment = self.segment(from, TcpFlags::PSH | TcpFlags::ACK).payload(payload);
        if let Some(passed) = self.send(from, seq, segment)
            && self.exact
        {
            let (moved, _, said) = numbers(&passed);
            assert_eq!((moved, said), heard, "what is repeated is heard again");
        }
    }

    /// Whoever was told a port connects to it.
    fn data_connection(&mut self) {
        let expected = self.netfilter.conntrack().expectations().next();
        let Some(tuple) = expected.map(|expected| expected.tuple) else {
            return;
        };
        let by = if self.ends.iter().any(|end| end.by == INSIDE && end.address == tuple.src) {
            INSIDE
        } else {
            OUTSIDE
        };
        let syn = Ip::new(self.family, tuple.src, tuple.dst).tcp(&Tcp::new(20, tuple.dport).syn());
        if let Some(passed) = machine::receive(&mut self.netfilter, syn, by, self.now).and_then(machine::passed) {
            sums::assert_sound(&passed);
        }
    }
}

/// A control connection of either family, with NAT or without, and what both ends say, in chunks as the bytes cut them; or TFTP.
pub fn ftp(data: &[u8]) {
    let mut source = Source::new(data);
    let choice = source.byte();
    let family = if choice & 1 == 0 { Family::V4 } else { Family::V6 };
    let way = Way::ALL[usize::from(choice >> 1) % 3];
    let config = Config {
        expect_max: EXPECTATIONS,
        max: CONNECTIONS,
        ..Config::default()
    };
    let mut netfilter = Netfilter::new(config, 3);
    let now = Now::from_secs(1000);
    machine::replace(&mut netfilter, way.rules(family), now);
    let mut netfilter = if choice & 0x80 != 0 {
        tftp(netfilter, family, &mut source, now)
    } else {
        let start = if choice & 0x40 == 0 { 1000 } else { u32::MAX - 40 };
        talk(netfilter, family, way, start, &mut source, now)
    };
    let flushed = netfilter.execute(Caller::Admin, Command::FlushConnections, now);
    assert!(flushed.is_ok());
    let conntrack = netfilter.conntrack();
    assert_eq!((conntrack.count(), conntrack.expectation_count()), (0, 0));
}

fn talk(netfilter: Netfilter, family: Family, way: Way, start: u32, source: &mut Source<'_>, now: Now) -> Netfilter {
    let (inside, outside) = (machine::inside(family, 1), machine::outside(family, 2));
    let (client, server, by) = match way {
        Way::Forwarded => (outside, machine::outside(family, 254), [OUTSIDE, INSIDE]),
        _ => (inside, outside, [INSIDE, OUTSIDE]),
    };
    let end = |address, port, by, peer| End {
        address,
        port,
        by,
        peer,
        seq: start,
        heard: 0,
        last: None,
    };
    let ends = [end(client, 1025, by[0], (server, 21)), end(server, 21, by[1], (client, 1025))];
    let mut talk = Talk {
        netfilter,
        family,
        way,
        now,
        ends,
        id: None,
        exact: true,
    };
    talk.handshake();
    for _ in 0..STEPS {
        if source.is_empty() {
            break;
        }
        let control = source.byte();
        let from = usize::from(control & 1);
        match control >> 1 & 15 {
            0..=5 => talk.say(from, source.bytes(200), control & 0x20 != 0),
            6..=9 => {
                let text = announcement(&talk, from, source);
                // It may come in two pieces, and with more behind it.
                let cut = usize::from(source.byte()).min(text.len());
                let (first, second) = text.as_bytes().split_at(if control & 0x40 == 0 { text.len() } else { cut });
                talk.say(from, first, control & 0x20 != 0);
                if !second.is_empty() {
                    talk.say(from, second, control & 0x20 != 0);
                }
            }
            10 | 11 => talk.repeat(from),
            12 => {
                // Something at any other place.
                talk.exact = false;
                let seq = talk.ends[from]
                    .seq
                    .wrapping_sub(u32::from(source.byte()) << (control >> 5 << 2));
                let segment = talk.segment(from, source.byte()).payload(source.bytes(60));
                talk.send(from, seq, segment);
            }
            13 => talk.now = talk.now.plus(u64::from(source.byte()) * 2 * Now::SECOND),
            _ => talk.data_connection(),
        }
    }
    talk.netfilter
}

/// A line that tells where a data connection may go, mostly the sender's own address.
fn announcement(talk: &Talk, from: usize, source: &mut Source<'_>) -> String {
    let own = talk.ends[from].address;
    let form = source.byte();
    let address = if form & 0x80 == 0 { own } else { talk.ends[from].peer.0 };
    let port = if form & 0x40 == 0 {
        source.word()
    } else {
        u16::from(source.byte())
    };
    let address = address.display(talk.family).to_string();
    let commas = format!("{},{},{}", address.replace('.', ","), port >> 8, port & 255);
    let version = if talk.family == Family::V4 { 1 } else { 2 };
    let end = source.pick(&["\r\n", "\r\n", "\n", "", "\r\nNOOP\r\n"]);
    match form & 3 {
        0 if from == 0 => format!("PORT {commas}{end}"),
        0 => format!("227 Entering Passive Mode ({commas}).{end}"),
        1 if from == 0 => format!("EPRT |{version}|{address}|{port}|{end}"),
        1 => format!("229 Entering Extended Passive Mode (|||{port}|){end}"),
        2 => format!("{}{end}", String::from_utf8_lossy(source.bytes(40))),
        _ => format!("227 {commas}{end}"),
    }
}

/// Requests, and the server's answers from a port of its own.
fn tftp(mut netfilter: Netfilter, family: Family, source: &mut Source<'_>, now: Now) -> Netfilter {
    let client = machine::inside(family, 1);
    for step in 0..STEPS {
        if source.is_empty() {
            break;
        }
        let port = 1024 + u16::from(source.byte() & 7);
        let request = Ip::new(family, client, machine::outside(family, 2)).udp(port, 69, source.bytes(80));
        let Some(request) = machine::receive(&mut netfilter, request, INSIDE, now).and_then(machine::passed) else {
            continue;
        };
        sums::assert_sound(&request);
        assert!(netfilter.conntrack().expectation_count() <= EXPECTATIONS);
        let (server, back) = (request.headers.dst, (request.headers.src, request.headers.sport));
        // Where the table is full, room for the answer may be made by forgetting who asked.
        let conntrack = netfilter.conntrack();
        let is_expected = conntrack.count() < CONNECTIONS
            && conntrack
                .expectations()
                .any(|expected| (expected.tuple.dst, expected.tuple.dport) == back);
        let answer = Ip::new(family, server, back.0).udp(5000 + step as u16, back.1, b"data");
        if let Some(answer) = machine::receive(&mut netfilter, answer, OUTSIDE, now).and_then(machine::passed) {
            sums::assert_sound(&answer);
            if is_expected {
                assert_eq!(
                    (answer.headers.dst, answer.headers.dport),
                    (client, port),
                    "an answer goes to who asked"
                );
            }
        }
    }
    netfilter
}
