//! Random trees, packets and times: whatever happens, every packet comes out or is dropped exactly once.

use std::collections::{BTreeSet, HashMap};

use super::*;

const LEAVES: [&str; 13] = [
    "pfifo limit 20",
    "bfifo limit 20000",
    "sfq limit 30 perturb 1",
    "sfq depth 4 divisor 16 flows 8 headdrop",
    "fq_codel limit 50 flows 16 target 1ms interval 10ms",
    "fq_codel memory_limit 30k",
    "fq_codel flows 2 hosts none ce_threshold 1ms",
    "codel limit 30 target 1ms interval 10ms ecn",
    "netem slot 1ms 3ms packets 3 loss gemodel 5% 50%",
    "netem delay 3ms limit 30",
    "netem delay 2ms 1ms loss 5% limit 100",
    "netem delay 5ms reorder 25% rate 5mbit",
    "pfifo",
];

/// Lines of a tree. `ordered` counts whether its queues keep the order within a flow.
struct Grown {
    lines: Vec<String>,
    ordered: bool,
    next_major: u16,
}

impl Grown {
    fn new(rng: &mut fastrand::Rng) -> Grown {
        let mut grown = Grown {
            lines: Vec::new(),
            ordered: true,
            next_major: 1,
        };
        grown.qdisc(rng, "root".to_owned(), 0);
        grown
    }

    fn qdisc(&mut self, rng: &mut fastrand::Rng, place: String, depth: u32) {
        let major = self.next_major;
        self.next_major += 1;
        let stab = [
            "",
            "stab overhead 20 ",
            "stab linklayer wireguard ",
            "stab linklayer atm mpu 64 ",
        ][rng.usize(0..4)];
        let start = format!("qdisc {place} handle {major:x}: {stab}");
        match rng.u32(0..if depth < 3 { 6 } else { 1 }) {
            1 => {
                self.lines.push(format!(
                    "{start}tbf rate {}kbit burst {} limit 30k",
                    rng.u32(100..100_000),
                    rng.u32(1000..20_000)
                ));
                if rng.bool() {
                    self.qdisc(rng, format!("parent {major:x}:1"), depth + 1);
                }
            }
            2 => {
                let bands = rng.u16(3..6);
                self.lines.push(format!("{start}prio bands {bands}"));
                let filters = Self::filters(rng, major, bands);
                self.lines.extend(filters);
                for band in 1..=bands {
                    if rng.bool() {
                        self.qdisc(rng, format!("parent {major:x}:{band:x}"), depth + 1);
                    }
                }
            }
            5 => {
                self.lines.push(format!("{start}netem delay {}us limit 50", rng.u32(0..3000)));
                self.qdisc(rng, format!("parent {major:x}:1"), depth + 1);
            }
            3 | 4 => {
                self.lines.push(format!("{start}htb default {:x}", rng.u16(0..8)));
                let mut parents = vec![0];
                let mut leaves = BTreeSet::new();
                let classes = rng.u16(1..12);
                for minor in 1..=classes {
                    // At most four deep.
                    let parent = parents[rng.usize(0..parents.len())];
                    if parents.len() < 4 {
                        parents.push(minor);
                    }
                    leaves.insert(minor);
                    leaves.remove(&parent);
                    let rate = rng.u32(50..20_000);
                    let quantum = if rng.bool() { " quantum 1500" } else { "" };
                    let burst = if rng.bool() { " burst 2k cburst 2k" } else { "" };
                    self.lines.push(format!(
                        "class parent {major:x}:{parent:x} classid {major:x}:{minor:x} htb rate {rate}kbit ceil {}kbit prio {}{quantum}{burst}",
                        rate * rng.u32(1..5),
                        rng.u32(0..8),
                    ));
                }
                let filters = Self::filters(rng, major, classes);
                self.lines.extend(filters);
                for leaf in leaves {
                    if rng.bool() {
                        self.qdisc(rng, format!("parent {major:x}:{leaf:x}"), depth + 1);
                    }
                }
            }
            _ => {
                let leaf = LEAVES[rng.usize(0..LEAVES.len())];
                self.ordered &= !leaf.contains("1ms loss") && !leaf.contains("reorder");
                self.lines.push(format!("{start}{leaf}"));
            }
        }
    }

    fn filters(rng: &mut fastrand::Rng, major: u16, classes: u16) -> Vec<String> {
        // Filters by port keep a flow in one class.
        (0..rng.u16(0..4))
            .map(|number| {
                format!(
                    "filter parent {major:x}: prio {} u32 match ip sport {number} ffff classid {major:x}:{:x}",
                    rng.u16(1..5),
                    rng.u16(1..=classes)
                )
            })
            .collect()
    }
}

fn random_packet(rng: &mut fastrand::Rng, id: u64) -> TestPacket {
    let flow = rng.u16(0..6);
    let mut packet = packet(id, flow, rng.usize(29..1500));
    if rng.u32(0..8) == 0 {
        packet = super::packet(id, flow, rng.usize(29..30_000));
        packet.segment_size = rng.u16(1..2000).max(500);
    }
    // Of one flow, all go the same way.
    packet.priority = [0, 1 << 16 | u32::from(flow), 2 << 16 | 1, 6, 0, 0][usize::from(flow)];
    packet.data[1] = [0, 0x10, 0x08, 0x02, 0, 0x18][usize::from(flow)];
    packet.mark = flow.into();
    packet
}

/// Payload bytes of each packet that have not come out or been dropped: segments count for their packet.
#[derive(Default)]
struct Account {
    open: HashMap<u64, i64>,
    last: HashMap<u16, u64>,
}

impl Account {
    fn payload(packet: &TestPacket) -> i64 {
        packet.data.len() as i64 - 28
    }

    fn enters(&mut self, packet: &TestPacket) {
        self.open.insert(packet.id, Self::payload(packet));
    }

    fn leaves(&mut self, packet: &TestPacket) {
        let open = self.open.get_mut(&packet.id).expect("nothing comes out twice");
        *open -= Self::payload(packet);
        assert!(*open >= 0, "no more comes out than went in");
        if *open == 0 {
            self.open.remove(&packet.id);
        }
    }

    fn sent(&mut self, packet: &TestPacket, ordered: bool) {
        let flow = Headers::parse(&packet.data).map_or(0, |headers| headers.sport);
        if ordered {
            let last = self.last.insert(flow, packet.id);
            assert!(
                last.is_none_or(|last| last <= packet.id),
                "flow {flow}: {last:?} before {}",
                packet.id
            );
        }
        self.leaves(packet);
    }
}

fn one_life(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let grown = Grown::new(&mut rng);
    let lines: Vec<&str> = grown.lines.iter().map(String::as_str).collect();
    let mut tree = tree(&lines);
    let (mut account, mut now, mut id) = (Account::default(), 0_u64, 0);
    let changes = rng.u32(0..3) == 0;
    let mut ordered = grown.ordered;
    for _ in 0..400 {
        for _ in 0..rng.u32(0..6) {
            let packet = random_packet(&mut rng, id);
            id += 1;
            account.enters(&packet);
            assert_eq!(tree.class_of(&packet), tree.class_of(&packet.clone()));
            tree.enqueue(packet, now, &mut |packet, _| account.leaves(&packet));
        }
        for _ in 0..rng.u32(0..6) {
            let mut dropped = Vec::new();
            let out = tree.dequeue(now, &mut |packet, _| dropped.push(packet));
            for packet in dropped {
                account.leaves(&packet);
            }
            match out {
                Some(packet) => account.sent(&packet, ordered),
                None => {
                    assert_eq!(tree.is_empty(), tree.poll_timeout().is_none());
                    assert!(tree.poll_timeout().is_none_or(|next| next > now));
                    break;
                }
            }
        }
        now = match (rng.u32(0..4), tree.poll_timeout()) {
            // Mostly to where something happens, sometimes anywhere, sometimes back.
            (0, _) => now + rng.u64(0..5_000_000),
            (1, _) => now.saturating_sub(1000),
            (_, next) => next.unwrap_or(now).max(now),
        };
        if changes && rng.u32(0..40) == 0 {
            // Another tree: what waits is queued anew, so that flows may overtake themselves.
            ordered = false;
            let other = Grown::new(&mut rng);
            let lines: Vec<&str> = other.lines.iter().map(String::as_str).collect();
            let waiting = tree.len();
            tree.apply(&items(&lines), now).unwrap();
            assert_eq!(tree.len(), waiting, "a change loses nothing");
        }
    }
    // Everything comes out in the end, each time at the moment that the tree names.
    let mut steps = 0;
    while let Some(next) = tree.poll_timeout() {
        now = now.max(next);
        let mut dropped = Vec::new();
        let out = tree.dequeue(now, &mut |packet, _| dropped.push(packet));
        for packet in dropped.into_iter() {
            account.leaves(&packet);
        }
        if let Some(packet) = out {
            account.sent(&packet, ordered);
        }
        steps += 1;
        assert!(steps < 1_000_000, "it does not come to an end");
    }
    assert!(account.open.is_empty(), "{} packets are lost", account.open.len());
    assert_eq!((tree.len(), tree.backlog_bytes()), (0, 0));
    for stats in tree.stats() {
        assert_eq!((stats.backlog.packets, stats.backlog.bytes), (0, 0), "{stats}");
    }
}

#[test]
fn every_packet_comes_out_or_is_dropped_exactly_once() {
    let lives = std::env::var("FIELATO_RANDOM_TREES").map_or(400, |text| text.parse().unwrap());
    for seed in 0..lives {
        let life = std::panic::catch_unwind(|| one_life(seed));
        assert!(
            life.is_ok(),
            "seed {seed}: {:#?}",
            Grown::new(&mut fastrand::Rng::with_seed(seed)).lines
        );
    }
}
