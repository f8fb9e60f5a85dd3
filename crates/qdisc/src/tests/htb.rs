use std::collections::BTreeMap;

use super::*;

/// A class that always has packets of `len` waiting; its minor number is the source port.
struct Source {
    minor: u16,
    len: usize,
    from: u64,
    to: u64,
}

fn source(minor: u16) -> Source {
    Source {
        minor,
        len: 1420,
        from: 0,
        to: u64::MAX,
    }
}

/// Keeps each class at eight packets, by what is known to have left.
struct Load {
    sources: Vec<Source>,
    waiting: BTreeMap<u16, usize>,
    next: u64,
}

impl Load {
    fn new(sources: Vec<Source>) -> Self {
        Load {
            sources,
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    fn refill(&mut self, tree: &mut Tree<TestPacket>, now: u64) {
        for source in &self.sources {
            let waiting = self.waiting.entry(source.minor).or_default();
            while *waiting < 8 && (source.from..source.to).contains(&now) {
                let mut packet = packet(self.next, source.minor, source.len);
                packet.priority = 1 << 16 | u32::from(source.minor);
                tree.enqueue(packet, now, &mut no_drop);
                *waiting += 1;
                self.next += 1;
            }
        }
    }

    /// Bytes of each class that left from `from` to `to`. The caller is up to `late` ns late at each alarm.
    fn run(&mut self, tree: &mut Tree<TestPacket>, from: u64, to: u64, late: u64) -> BTreeMap<u16, u64> {
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut now, mut sent) = (from, BTreeMap::new());
        while now < to {
            self.refill(tree, now);
            while let Some(packet) = tree.dequeue(now, &mut no_drop) {
                let minor = packet.priority as u16;
                *self.waiting.entry(minor).or_default() -= 1;
                *sent.entry(minor).or_default() += packet.data.len() as u64;
                self.refill(tree, now);
            }
            let next = tree.poll_timeout().expect("packets wait");
            assert!(next > now);
            now = next.max(now + 1) + if late > 0 { rng.u64(0..late) } else { 0 };
        }
        sent
    }
}

fn assert_rate(bytes: u64, time: u64, mbit: f64, what: &str) {
    let measured = bytes as f64 * 8e3 / time as f64;
    let error = measured / mbit - 1.0;
    assert!(error.abs() <= 0.005, "{what}: {measured} instead of {mbit} Mbit/s");
}

#[test]
fn rates_are_kept_within_half_a_percent_even_by_a_late_caller() {
    for mbit in [1_u64, 10, 100, 500] {
        for late in [0, 50_000, 1_000_000] {
            for burst in ["", " burst 3000 cburst 3000"] {
                let mut tree = tree(&[
                    "qdisc root handle 1: htb default 10",
                    &format!("class parent 1: classid 1:10 htb rate {mbit}mbit{burst}"),
                ]);
                let mut load = Load::new(vec![source(0x10)]);
                load.run(&mut tree, 0, SECOND / 8, late);
                // Long enough that one packet more or less is nothing.
                let time = if mbit < 100 { 10 * SECOND / mbit.min(5) } else { SECOND / 8 };
                let sent = load.run(&mut tree, SECOND / 8, SECOND / 8 + time, late);
                let what = format!("{mbit} Mbit/s, {late} ns late,{burst}");
                assert_rate(sent[&0x10], time, mbit as f64, &what);
            }
        }
    }
}

#[test]
fn three_classes_share_as_written_and_borrow_by_their_rates() {
    let lines = [
        "qdisc root handle 1: htb default 30",
        "class parent 1: classid 1:1 htb rate 100mbit",
        "class parent 1:1 classid 1:10 htb rate 60mbit ceil 100mbit",
        "class parent 1:1 classid 1:20 htb rate 30mbit ceil 100mbit",
        "class parent 1:1 classid 1:30 htb rate 10mbit ceil 100mbit",
    ];
    let mut three = tree(&lines);
    let mut load = Load::new(vec![source(0x10), source(0x20), source(0x30)]);
    load.run(&mut three, 0, SECOND, 0);
    let sent = load.run(&mut three, SECOND, 3 * SECOND, 0);
    for (minor, mbit) in [(0x10, 60.0), (0x20, 30.0), (0x30, 10.0)] {
        assert_rate(sent[&minor], 2 * SECOND, mbit, "three classes");
    }

    // Without the first, the others borrow what it leaves.
    let mut two = tree(&lines);
    let mut load = Load::new(vec![source(0x20), source(0x30)]);
    load.run(&mut two, 0, SECOND, 0);
    let sent = load.run(&mut two, SECOND, 3 * SECOND, 0);
    assert_rate(sent[&0x20] + sent[&0x30], 2 * SECOND, 100.0, "both together");
    let ratio = sent[&0x20] as f64 / sent[&0x30] as f64;
    assert!((1.9..3.1).contains(&ratio), "by rate and quantum: {ratio}");
    let stats = two.stats();
    let class = stats
        .iter()
        .find(|stats| stats.is_class() && stats.handle.minor == 0x20)
        .unwrap();
    let crate::Extra::Htb(counts) = class.extra else {
        panic!("{class:?}")
    };
    assert!(counts.borrowed > 0 && counts.lended > 0, "{counts:?}");
}

#[test]
fn what_was_borrowed_is_given_back_within_a_tenth_of_a_second() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb default 30",
        "class parent 1: classid 1:1 htb rate 100mbit",
        "class parent 1:1 classid 1:10 htb rate 90mbit ceil 100mbit",
        "class parent 1:1 classid 1:20 htb rate 10mbit ceil 100mbit",
    ]);
    let mut load = Load::new(vec![
        Source {
            from: 2 * SECOND,
            ..source(0x10)
        },
        source(0x20),
    ]);
    load.run(&mut tree, 0, SECOND, 0);
    let alone = load.run(&mut tree, SECOND, 2 * SECOND, 0);
    assert_rate(alone[&0x20], SECOND, 100.0, "alone");
    load.run(&mut tree, 2 * SECOND, 2 * SECOND + SECOND / 10, 0);
    let shared = load.run(&mut tree, 2 * SECOND + SECOND / 10, 3 * SECOND, 0);
    assert_rate(shared[&0x10], SECOND * 9 / 10, 90.0, "the owner");
    assert_rate(shared[&0x20], SECOND * 9 / 10, 10.0, "the borrower");
}

#[test]
fn excess_goes_to_the_lower_prio_first() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb",
        "class parent 1: classid 1:1 htb rate 30mbit",
        "class parent 1:1 classid 1:10 htb rate 5mbit ceil 30mbit prio 0",
        "class parent 1:1 classid 1:20 htb rate 5mbit ceil 30mbit prio 1",
    ]);
    let mut load = Load::new(vec![source(0x10), source(0x20)]);
    load.run(&mut tree, 0, SECOND, 0);
    let sent = load.run(&mut tree, SECOND, 3 * SECOND, 0);
    assert_rate(sent[&0x10], 2 * SECOND, 25.0, "prio 0");
    assert_rate(sent[&0x20], 2 * SECOND, 5.0, "prio 1");
}

#[test]
fn eight_classes_deep_every_ceiling_holds() {
    let mut lines = vec!["qdisc root handle 1: htb".to_owned()];
    for depth in 1..=8_u16 {
        let parent = if depth == 1 {
            "1:".to_owned()
        } else {
            format!("1:{:x}", depth - 1)
        };
        // The narrowest is in the middle; the leaf's own rate is less.
        let (rate, ceil) = match depth {
            1..4 => (50, 50),
            4 => (20, 20),
            5..8 => (10, 50),
            _ => (5, 50),
        };
        lines.push(format!(
            "class parent {parent} classid 1:{depth:x} htb rate {rate}mbit ceil {ceil}mbit"
        ));
    }
    lines.push("class parent 1:4 classid 1:40 htb rate 1mbit ceil 50mbit".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut tree = tree(&lines);
    let mut load = Load::new(vec![source(8), source(0x40)]);
    load.run(&mut tree, 0, SECOND, 0);
    let sent = load.run(&mut tree, SECOND, 3 * SECOND, 0);
    assert_rate(sent[&8] + sent[&0x40], 2 * SECOND, 20.0, "the narrowest ceiling");
    assert!(sent[&0x40] >= SECOND / 8_000_000 * 2 * 1000 * 99 / 100, "its rate at least");

    let mut nine = items(&lines);
    nine.extend(items(&["class parent 1:8 classid 1:9 htb rate 1mbit"]));
    let error = tree.apply(&nine, 0).unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn inner_classes_take_turns_though_their_leaves_are_throttled_after_each_packet() {
    let mut lines = vec![
        "qdisc root handle 1: htb".to_owned(),
        "class parent 1: classid 1:1 htb rate 40mbit".to_owned(),
    ];
    for inner in [0x10_u16, 0x20] {
        lines.push(format!(
            "class parent 1:1 classid 1:{inner:x} htb rate 1mbit ceil 40mbit quantum 1500"
        ));
        for leaf in 1..=3 {
            lines.push(format!(
                "class parent 1:{inner:x} classid 1:{:x} htb rate 100kbit ceil 39mbit burst 1500 cburst 1500 quantum 1500",
                inner + leaf
            ));
        }
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut tree = tree(&lines);
    let mut load = Load::new([0x11, 0x12, 0x13, 0x21, 0x22, 0x23].map(source).into());
    load.run(&mut tree, 0, SECOND, 0);
    let sent = load.run(&mut tree, SECOND, 5 * SECOND, 0);
    let shares: Vec<f64> = sent.values().map(|bytes| *bytes as f64).collect();
    let jain = shares.iter().sum::<f64>().powi(2) / (6.0 * shares.iter().map(|share| share * share).sum::<f64>());
    assert!(shares.len() == 6 && jain > 0.99, "{sent:?}");
}

#[test]
fn what_names_no_class_goes_direct_and_first() {
    let mut tree = tree(&["qdisc root handle 1: htb", "class parent 1: classid 1:10 htb rate 1mbit"]);
    let mut classed = packet(0, 1, 1000);
    classed.priority = 0x1_0010;
    assert_eq!(tree.class_of(&classed), [handle(1, 0), handle(1, 0x10)]);
    assert_eq!(tree.class_of(&packet(1, 1, 100)), [handle(1, 0)]);
    tree.enqueue(classed, 0, &mut no_drop);
    tree.enqueue(packet(1, 1, 100), 0, &mut no_drop);
    assert_eq!(tree.dequeue(0, &mut no_drop).unwrap().id, 1);
    assert_eq!(tree.dequeue(0, &mut no_drop).unwrap().id, 0);
    assert_eq!(
        tree.stats()[0].extra,
        crate::Extra::HtbDirect(crate::HtbDirect { direct_packets_stat: 1 })
    );
}

fn handle(major: u16, minor: u16) -> crate::Handle {
    crate::Handle { major, minor }
}

#[test]
fn changing_classes_keeps_the_queues_of_those_that_stay() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb default 20",
        "class parent 1: classid 1:10 htb rate 1mbit",
        "class parent 1: classid 1:20 htb rate 1mbit",
    ]);
    for id in 0..10 {
        let mut packet = packet(id, 1, 1000);
        packet.priority = 0x1_0010 + 0x10 * (id as u32 % 2);
        tree.enqueue(packet, 0, &mut no_drop);
    }
    // 1:10 goes; what waited in it has no class and takes the default.
    let after = items(&[
        "qdisc root handle 1: htb default 20",
        "class parent 1: classid 1:20 htb rate 2mbit",
    ]);
    tree.apply(&after, 0).unwrap();
    assert_eq!(tree.len(), 10);
    let mut now = 0;
    let sent = run(&mut tree, &mut now, SECOND, |_, _| {});
    let ids: Vec<u64> = sent.iter().map(|(_, packet)| packet.id).collect();
    assert_eq!(ids, [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]);
    assert!(tree.is_empty() && tree.poll_timeout().is_none());
}

#[test]
fn a_leaf_that_holds_packets_back_sleeps_and_wakes() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb default 10",
        "class parent 1: classid 1:10 htb rate 100mbit",
        "class parent 1: classid 1:20 htb rate 100mbit",
        "qdisc parent 1:10 handle 10: tbf rate 8mbit burst 1000 limit 10000",
    ]);
    for id in 0..6 {
        let mut packet = packet(id, 1, 1000);
        packet.priority = 0x1_0010 + 0x10 * (id as u32 % 2);
        tree.enqueue(packet, 0, &mut no_drop);
    }
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    let tbf: Vec<u64> = sent
        .iter()
        .filter(|(_, packet)| packet.id % 2 == 0)
        .map(|(time, _)| *time)
        .collect();
    assert_eq!(tbf, [0, 1_000_000, 2_000_000]);
    assert!(
        sent.iter()
            .filter(|(_, packet)| packet.id % 2 == 1)
            .all(|(time, _)| *time < 300_000)
    );
}

#[test]
fn classes_that_make_no_sense_are_refused() {
    let mut tree = tree(&["qdisc root handle 1: pfifo"]);
    for (lines, said) in [
        (
            &["qdisc root handle 1: pfifo", "class parent 1: classid 1:1 htb rate 1mbit"][..],
            "1:",
        ),
        (
            &["qdisc root handle 1: htb", "class parent 1:2 classid 1:1 htb rate 1mbit"],
            "1:2",
        ),
        (
            &[
                "qdisc root handle 1: htb",
                "class parent 1:2 classid 1:1 htb rate 1mbit",
                "class parent 1:1 classid 1:2 htb rate 1mbit",
            ],
            "deep",
        ),
        (
            &[
                "qdisc root handle 1: htb",
                "class parent 1: classid 1:1 htb rate 1mbit",
                "class parent 1:1 classid 1:2 htb rate 1mbit",
                "qdisc parent 1:1 handle 2: pfifo",
            ],
            "1:1",
        ),
    ] {
        let error = tree.apply(&items(lines), 0).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}
