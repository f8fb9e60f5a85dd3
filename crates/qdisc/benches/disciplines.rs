//! What a packet costs in each discipline: into the queue and out again, with others waiting.
//!
//! `cargo bench -p fielato-qdisc`. One iteration is one packet.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fielato_qdisc::{Item, Packet, Settings, Tree};
use fielato_wire::build::Ip;

/// As in a gateway: the bytes are elsewhere and only handed on.
struct Bytes {
    data: Box<[u8]>,
    priority: u32,
}

impl Packet for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.data
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    fn segment_size(&self) -> u16 {
        0
    }

    fn split(self, each: &mut dyn FnMut(Self)) {
        each(self);
    }

    fn duplicate(&self) -> Self {
        Bytes {
            data: self.data.clone(),
            priority: self.priority,
        }
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn mark(&self) -> u32 {
        0
    }
}

/// Packets that wait while one goes in and one comes out.
const WAITING: u32 = 500;
const CLASSES: u32 = 1000;

fn packet(number: u32) -> Bytes {
    let source = std::net::Ipv4Addr::from(0x0a00_0000 + number % 64);
    let ip = Ip::v4(source, std::net::Ipv4Addr::new(192, 0, 2, 1));
    Bytes {
        data: ip.udp((number % 1000) as u16, 443, &[0; 1300]).into(),
        priority: 1 << 16 | (0x100 + number % CLASSES),
    }
}

fn tree(lines: &[String]) -> Tree<Bytes> {
    let mut tree = Tree::new(Settings::default());
    let items: Vec<Item> = lines.iter().map(|line| line.parse().expect("tc's words")).collect();
    tree.apply(&items, 0).expect("a tree");
    tree
}

/// Packets come as fast as they go; the clock jumps where the tree waits.
fn measure(criterion: &mut Criterion, name: &str, lines: &[String]) {
    let mut tree = tree(lines);
    let (mut now, mut lost) = (0, 0_u64);
    let mut spare: Vec<Bytes> = (0..2 * WAITING).map(packet).collect();
    for _ in 0..WAITING {
        tree.enqueue(spare.pop().expect("enough"), now, &mut |_, _| lost += 1);
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut back = None;
            if let Some(packet) = spare.pop() {
                tree.enqueue(black_box(packet), now, &mut |packet, _| back = Some(packet));
            }
            spare.extend(back.take());
            loop {
                if let Some(packet) = tree.dequeue(now, &mut |packet, _| back = Some(packet)) {
                    spare.push(packet);
                    break;
                }
                spare.extend(back.take());
                match tree.poll_timeout() {
                    Some(next) => now = now.max(next),
                    None => break,
                }
            }
            spare.extend(back.take());
            // A packet of 1,328 bytes at 10 Gbit/s.
            now += 1062;
        });
    });
}

fn disciplines(criterion: &mut Criterion) {
    let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    measure(criterion, "pfifo", &lines(&["qdisc root pfifo"]));
    measure(criterion, "tbf", &lines(&["qdisc root tbf rate 20gbit burst 64k limit 10m"]));
    measure(
        criterion,
        "tbf that waits",
        &lines(&["qdisc root tbf rate 1gbit burst 3k limit 10m"]),
    );
    measure(criterion, "prio", &lines(&["qdisc root handle 9: prio"]));
    measure(criterion, "sfq", &lines(&["qdisc root sfq limit 1000"]));
    measure(criterion, "fq_codel", &lines(&["qdisc root fq_codel"]));
    measure(criterion, "netem delay", &lines(&["qdisc root netem delay 1ms limit 2000"]));
    measure(
        criterion,
        "netem jitter",
        &lines(&["qdisc root netem delay 1ms 500us limit 2000"]),
    );
    let mut htb = lines(&["qdisc root handle 1: htb", "class parent 1: classid 1:1 htb rate 20gbit"]);
    for class in 0..CLASSES {
        htb.push(format!(
            "class parent 1:1 classid 1:{:x} htb rate 5mbit ceil 20gbit",
            0x100 + class
        ));
    }
    measure(criterion, "htb, 1,000 classes that borrow", &htb);
    let mut limited = lines(&["qdisc root handle 1: htb", "class parent 1: classid 1:1 htb rate 1gbit"]);
    for class in 0..CLASSES {
        limited.push(format!(
            "class parent 1:1 classid 1:{:x} htb rate 5mbit ceil 10mbit",
            0x100 + class
        ));
    }
    measure(criterion, "htb, 1,000 classes that wait", &limited);
    for class in 0..CLASSES {
        limited.push(format!("qdisc parent 1:{:x} fq_codel flows 64", 0x100 + class));
    }
    measure(criterion, "htb, 1,000 classes that wait, with fq_codel", &limited);
}

criterion_group!(benches, disciplines);
criterion_main!(benches);
