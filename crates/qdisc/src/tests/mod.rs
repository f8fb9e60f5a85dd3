//! The running disciplines on a virtual clock.

mod codel;
mod fifo;
mod filters;
mod fq_codel;
mod htb;
mod netem;
mod prio;
mod random;
mod sfq;
mod stats;
mod tbf;

use std::net::{IpAddr, Ipv4Addr};

use fielato_wire::build::Ip;
use fielato_wire::{Headers, number};

use crate::{DropReason, Item, Packet, Settings, Tree};

pub const SECOND: u64 = 1_000_000_000;

/// A packet with a number by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPacket {
    pub id: u64,
    pub data: Vec<u8>,
    pub segment_size: u16,
    pub priority: u32,
    pub mark: u32,
    pub source: Option<IpAddr>,
}

impl Packet for TestPacket {
    fn bytes(&self) -> &[u8] {
        &self.data
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    fn segment_size(&self) -> u16 {
        self.segment_size
    }

    /// Cuts the payload behind IPv4 and UDP headers; checksums are left as they are.
    fn split(self, each: &mut dyn FnMut(Self)) {
        if self.segment_size == 0 {
            return each(self);
        }
        let headers = Headers::parse(&self.data).expect("superpackets have headers");
        assert_eq!(headers.protocol, number::UDP);
        let (header, payload) = self.data.split_at(headers.ip_header_len() + 8);
        for chunk in payload.chunks(usize::from(self.segment_size)) {
            let mut data = [header, chunk].concat();
            let len = data.len() as u16;
            data[2..4].copy_from_slice(&len.to_be_bytes());
            each(TestPacket {
                data,
                segment_size: 0,
                ..self.clone()
            });
        }
    }

    fn duplicate(&self) -> Self {
        self.clone()
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn source(&self) -> Option<IpAddr> {
        self.source
    }
}

/// A UDP packet of `len` bytes in all, of the flow from `sport`.
pub fn packet(id: u64, sport: u16, len: usize) -> TestPacket {
    let ip = Ip::v4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    TestPacket {
        id,
        data: ip.udp(sport, 9, &vec![0; len.saturating_sub(28)]),
        segment_size: 0,
        priority: 0,
        mark: 0,
        source: None,
    }
}

/// A tree made of lines `qdisc …` and `class …`.
pub fn tree(lines: &[&str]) -> Tree<TestPacket> {
    let mut tree = Tree::new(Settings {
        seed: 1,
        ..Settings::default()
    });
    tree.apply(&items(lines), 0).unwrap();
    tree
}

pub fn items(lines: &[&str]) -> Vec<Item> {
    lines
        .iter()
        .map(|line| match line.split_once(' ').unwrap() {
            ("qdisc", words) => Item::Qdisc(crate::qdisc(words).unwrap()),
            ("class", words) => Item::Class(crate::class(words).unwrap()),
            ("filter", words) => Item::Filter(crate::filter(words).unwrap()),
            _ => panic!("{line}"),
        })
        .collect()
}

/// Nothing may be dropped.
pub fn no_drop(packet: TestPacket, reason: DropReason) {
    panic!("packet {} dropped: {reason:?}", packet.id);
}

/// Runs from `*now` to `until`: before every look, `refill` may enqueue; packets leave at the first moment the tree allows. Gives each
/// packet that left, with its time.
pub fn run(
    tree: &mut Tree<TestPacket>,
    now: &mut u64,
    until: u64,
    mut refill: impl FnMut(&mut Tree<TestPacket>, u64),
) -> Vec<(u64, TestPacket)> {
    let mut sent = Vec::new();
    while *now < until {
        refill(tree, *now);
        while let Some(packet) = tree.dequeue(*now, &mut |_, _| {}) {
            sent.push((*now, packet));
            refill(tree, *now);
        }
        let next = tree.poll_timeout().unwrap_or(until);
        assert!(
            next > *now,
            "a tree that gives nothing must not ask to be asked again at once"
        );
        *now = next.min(until);
    }
    sent
}
