//! What a packet costs in a discipline: queued and taken out again, while others wait.

use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fielato_qdisc::{Item, Packet, Settings, Tree, qdisc};
use fielato_wire::build::Ip;

struct Buffer(Vec<u8>);

impl Packet for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn segment_size(&self) -> u16 {
        0
    }
    fn split(self, each: &mut dyn FnMut(Self)) {
        each(self);
    }
    fn duplicate(&self) -> Self {
        Buffer(self.0.clone())
    }
    fn priority(&self) -> u32 {
        0
    }
    fn mark(&self) -> u32 {
        0
    }
}

/// Packets that wait all the time.
const WAITING: u16 = 256;
const FLOWS: u16 = 64;
const HOSTS: u16 = 16;

fn packets() -> Vec<Buffer> {
    let packet = |number: u16| {
        let flow = number % FLOWS;
        let host = Ipv4Addr::new(10, 0, 1, (flow % HOSTS) as u8);
        Buffer(Ip::v4(Ipv4Addr::new(10, 0, 0, 1), host).udp(1000 + flow, 9, &[0; 1200]))
    };
    (0..=WAITING).map(packet).collect()
}

fn disciplines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a packet in and out");
    group.throughput(Throughput::Elements(1));
    for words in [
        "pfifo limit 1000",
        "codel",
        "fq_codel hosts none",
        "fq_codel hosts dst",
        "netem delay 1us",
        "netem delay 100us 50us distribution normal",
    ] {
        let mut tree = Tree::new(Settings::default());
        tree.apply(&[Item::Qdisc(qdisc(&format!("root {words}")).unwrap())], 0)
            .unwrap();
        let mut packets = packets();
        let mut spare = packets.pop().unwrap();
        let mut now = 0;
        for packet in packets {
            tree.enqueue(packet, now, &mut |_, _| {});
        }
        group.bench_function(words, |bencher| {
            bencher.iter(|| {
                now += 1_000;
                let packet = std::mem::replace(&mut spare, Buffer(Vec::new()));
                tree.enqueue(packet, now, &mut |packet, _| drop(packet));
                loop {
                    match tree.dequeue(now, &mut |packet, _| drop(packet)) {
                        Some(packet) => break spare = packet,
                        None => now = tree.poll_timeout().expect("packets wait"),
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, disciplines);
criterion_main!(benches);
