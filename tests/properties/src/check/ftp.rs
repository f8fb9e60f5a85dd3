//! What the FTP and TFTP helpers read, in chunks, while NAT changes addresses.

use fielato_netfilter::conntrack::Config;
use fielato_netfilter::{Netfilter, Now, Packet};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, Headers};

use crate::machine::{self, INSIDE, OUTSIDE};
use crate::source::Source;
use crate::sums;

const EXPECTATIONS: u32 = 4;

const RULES: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\n\
-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n";
const NAT: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n";

/// One end of a control connection.
#[derive(Clone, Copy)]
struct End {
    address: Addr,
    port: u16,
    seq: u32,
    ack: u32,
    by: u32,
}

struct Talk {
    netfilter: Netfilter,
    family: Family,
    now: Now,
    /// Client and server, as each sees itself; with the address and port that each talks to.
    ends: [End; 2],
    peers: [(Addr, u16); 2],
}

impl Talk {
    /// Sends a segment from an end; gives back the packet as the other end sees it.
    fn send(&mut self, from: usize, flags: u8, payload: &[u8]) -> Option<Packet> {
        let (end, (peer, port)) = (self.ends[from], self.peers[from]);
        let tcp = Tcp::new(end.port, port)
            .ack(end.ack)
            .flags(flags)
            .seq(end.seq)
            .payload(payload);
        let packet = Ip::new(self.family, end.address, peer).tcp(&tcp);
        let fate = machine::receive(&mut self.netfilter, packet, end.by, self.now)?;
        let passed = machine::passed(fate)?;
        let verified = sums::verify(&passed.data);
        assert!(verified.is_ok(), "{verified:?}: {:02x?}", passed.data);
        assert_eq!(Headers::parse(&passed.data), Ok(passed.headers));
        let expected = self.netfilter.conntrack().expectation_count();
        assert!(expected <= EXPECTATIONS, "{expected} expectations");
        Some(passed)
    }

    /// Says something, and takes the numbers along on both sides.
    fn say(&mut self, from: usize, payload: &[u8]) {
        let Some(passed) = self.send(from, 0x18, payload) else {
            return;
        };
        self.ends[from].seq = self.ends[from].seq.wrapping_add(payload.len() as u32);
        let transport = passed.transport();
        let header = usize::from(transport.get(12).map_or(5, |byte| byte >> 4)) * 4;
        let seq = transport
            .get(4..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map_or(0, |seq| u32::from_be_bytes(*seq));
        let said = transport.len().saturating_sub(header) as u32;
        self.ends[1 - from].ack = seq.wrapping_add(said);
    }
}

/// A control connection over either family, masqueraded or not; then what both ends say, in chunks as the bytes cut them.
pub fn ftp(data: &[u8]) {
    let mut source = Source::new(data);
    let choice = source.byte();
    let family = if choice & 1 == 0 { Family::V4 } else { Family::V6 };
    let config = Config {
        expect_max: EXPECTATIONS,
        max: 8,
        ..Config::default()
    };
    let mut netfilter = Netfilter::new(config, 3);
    let now = Now::from_secs(1000);
    let rules = if choice & 2 == 0 {
        format!("{RULES}{NAT}")
    } else {
        RULES.to_owned()
    };
    machine::replace(&mut netfilter, machine::rules(family, &rules), now);
    let (client, server) = (machine::inside(family, 1), machine::outside(family, 2));
    if choice & 4 != 0 {
        tftp(&mut netfilter, family, &mut source, now);
        return;
    }
    // Sequence numbers that wrap now and then.
    let start = if choice & 8 == 0 { 1000 } else { u32::MAX - 40 };
    let end = |address, port, by| End {
        address,
        port,
        seq: start,
        ack: 0,
        by,
    };
    let mut talk = Talk {
        netfilter,
        family,
        now,
        ends: [end(client, 1025, INSIDE), end(server, 21, OUTSIDE)],
        peers: [(server, 21), (client, 1025)],
    };
    let Some(syn) = talk.send(0, 0x02, &[]) else {
        panic!("the first SYN passes");
    };
    talk.peers[1] = (syn.headers.src, syn.headers.sport);
    for end in &mut talk.ends {
        end.ack = start.wrapping_add(1);
    }
    assert!(talk.send(1, 0x12, &[]).is_some(), "the SYN's answer passes");
    for end in &mut talk.ends {
        end.seq = start.wrapping_add(1);
    }
    assert!(talk.send(0, 0x10, &[]).is_some(), "the handshake's end passes");
    while !source.is_empty() {
        let control = source.byte();
        let from = usize::from(control & 1);
        if control & 0xf8 == 0xf8 {
            // The same again, out of order.
            talk.ends[from].seq = talk.ends[from].seq.wrapping_sub(u32::from(source.byte() & 31));
        }
        if control & 0x0e == 0x0e {
            talk.now = talk.now.plus(u64::from(source.byte()) * 2 * Now::SECOND);
        }
        let payload = source.bytes(200);
        talk.say(from, payload);
        if control & 0x10 != 0 {
            data_connection(&mut talk, from);
        }
    }
}

/// Whoever was told a port connects to it.
fn data_connection(talk: &mut Talk, from: usize) {
    let Some(tuple) = talk
        .netfilter
        .conntrack()
        .expectations()
        .next()
        .map(|expected| expected.tuple)
    else {
        return;
    };
    let end = talk.ends[1 - from];
    let syn = Ip::new(talk.family, end.address, tuple.dst).tcp(&Tcp::new(20, tuple.dport).syn());
    if let Some(fate) = machine::receive(&mut talk.netfilter, syn, end.by, talk.now)
        && let Some(passed) = machine::passed(fate)
    {
        let verified = sums::verify(&passed.data);
        assert!(verified.is_ok(), "{verified:?}");
    }
}

fn tftp(netfilter: &mut Netfilter, family: Family, source: &mut Source<'_>, now: Now) {
    while !source.is_empty() {
        let port = 1024 + u16::from(source.byte() & 7);
        let request = Ip::new(family, machine::inside(family, 1), machine::outside(family, 2)).udp(port, 69, source.bytes(80));
        let Some(passed) = machine::receive(netfilter, request, INSIDE, now).and_then(machine::passed) else {
            continue;
        };
        assert!(netfilter.conntrack().expectation_count() <= EXPECTATIONS);
        let answer = Ip::new(family, passed.headers.dst, passed.headers.src).udp(5000, passed.headers.sport, b"data");
        if let Some(passed) = machine::receive(netfilter, answer, OUTSIDE, now).and_then(machine::passed) {
            let verified = sums::verify(&passed.data);
            assert!(verified.is_ok(), "{verified:?}");
        }
    }
}
