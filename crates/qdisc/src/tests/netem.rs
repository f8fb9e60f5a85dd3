use std::net::Ipv4Addr;

use super::*;
use crate::{Extra, NetemStats};

const MILLISECOND: u64 = 1_000_000;

/// Packets by number, with their delays.
type Sent = Vec<(u64, u64)>;
type Dropped = Vec<(u64, DropReason)>;

/// Sends packets one by one, `apart` ns.
fn through(words: &str, count: u64, apart: u64) -> (Sent, Dropped, Tree<TestPacket>) {
    let mut tree = tree(&[&format!("qdisc root netem {words}")]);
    let (mut sent, mut dropped) = (Vec::new(), Vec::new());
    let template = packet(0, 1, 1000);
    let (mut now, mut next) = (0, 0);
    while next < count || !tree.is_empty() {
        let arrival = (next < count).then_some(next * apart);
        now = arrival.into_iter().chain(tree.poll_timeout()).min().unwrap().max(now);
        if arrival == Some(now) {
            let packet = TestPacket {
                id: next,
                ..template.clone()
            };
            tree.enqueue(packet, now, &mut |packet, reason| dropped.push((packet.id, reason)));
            next += 1;
        }
        while let Some(packet) = tree.dequeue(now, &mut no_drop) {
            sent.push((packet.id, now - packet.id * apart));
        }
    }
    (sent, dropped, tree)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn delays(words: &str, count: u64) -> Vec<f64> {
    // Apart so far that no packet overtakes another, unless asked.
    let (sent, dropped, _) = through(words, count, 1000 * MILLISECOND);
    assert_eq!((sent.len() as u64, dropped.len()), (count, 0), "{words}");
    sent.into_iter().map(|(_, delay)| delay as f64 / 1e6).collect()
}

/// Three standard errors of a share.
fn near(share: f64, expected: f64, count: f64, what: &str) {
    let slack = 3.0 * (expected * (1.0 - expected) / count).sqrt();
    assert!((share - expected).abs() <= slack, "{what}: {share}, not {expected} ± {slack}");
}

fn extra(tree: &Tree<TestPacket>) -> NetemStats {
    match &tree.stats()[0].extra {
        Extra::Netem(stats) => stats.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delay_is_exact() {
    let (sent, _, _) = through("delay 100ms", 1000, MILLISECOND);
    assert!(
        sent.iter()
            .enumerate()
            .all(|(place, (id, delay))| (place as u64, *delay) == (*id, 100 * MILLISECOND))
    );
}

#[test]
fn jitter_has_the_form_that_was_asked_for() {
    let uniform = delays("delay 100ms 10ms", 20_000);
    assert!(uniform.iter().all(|delay| (90.0..110.0).contains(delay)));
    assert!((mean(&uniform) - 100.0).abs() < 0.2 && (deviation(&uniform) - 10.0 / 3f64.sqrt()).abs() < 0.1);

    let normal = delays("delay 100ms 10ms distribution normal", 20_000);
    assert!((mean(&normal) - 100.0).abs() < 0.25, "{}", mean(&normal));
    assert!((deviation(&normal) - 10.0).abs() < 0.2, "{}", deviation(&normal));
    let within = normal.iter().filter(|delay| (90.0..110.0).contains(*delay)).count() as f64 / 20_000.0;
    assert!((within - 0.683).abs() < 0.01, "{within}");

    let mut pareto = delays("delay 100ms 10ms distribution pareto", 20_000);
    pareto.sort_by(f64::total_cmp);
    // The table of Pareto's form: from 2/3 of the jitter below to four times above, half of it 0.32 below.
    assert!((pareto[0] - 93.33).abs() < 0.01 && (pareto[19_999] - 140.0).abs() < 0.01);
    assert!((pareto[10_000] - 96.8).abs() < 0.15, "{}", pareto[10_000]);
    let paretonormal = delays("delay 100ms 10ms distribution paretonormal", 20_000);
    assert!((deviation(&paretonormal) - 8.34).abs() < 0.3, "{}", deviation(&paretonormal));
}

#[test]
fn correlated_delays_follow_each_other() {
    let correlation = |words: &str| {
        let delays = delays(words, 20_000);
        let (mean, deviation) = (mean(&delays), deviation(&delays));
        let products: Vec<f64> = delays.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).collect();
        self::mean(&products) / (deviation * deviation)
    };
    assert!(correlation("delay 100ms 10ms").abs() < 0.03);
    for percent in [25.0, 75.0] {
        let found = correlation(&format!("delay 100ms 10ms {percent}%"));
        assert!((found - percent / 100.0).abs() < 0.05, "{percent}%: {found}");
    }
}

#[test]
fn jitter_reorders_by_the_time_to_send() {
    let (sent, _, _) = through("delay 10ms 9ms", 1000, MILLISECOND);
    assert!(!sent.is_sorted_by_key(|(id, _)| *id), "packets overtake each other");
    let times: Vec<u64> = sent.iter().map(|(id, delay)| id * MILLISECOND + delay).collect();
    assert!(times.is_sorted());
}

#[test]
fn losses_are_as_many_as_asked() {
    const COUNT: u64 = 40_000;
    let lost = |words: &str| {
        let (sent, dropped, tree) = through(words, COUNT, 1000);
        assert_eq!(sent.len() + dropped.len(), COUNT as usize);
        assert!(dropped.iter().all(|(_, reason)| *reason == DropReason::NetemLoss));
        assert_eq!(tree.stats()[0].dropped, dropped.len() as u64);
        dropped.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let share = |lost: &[u64]| lost.len() as f64 / COUNT as f64;
    let count = COUNT as f64;

    near(share(&lost("loss 3%")), 0.03, count, "random");
    near(share(&lost("loss state 3%")), 0.03, count, "Bernoulli's as a chain");

    // p31 = 25%: a burst of losses has 1/p31 packets in the mean, and p13 / (p13 + p31) of all are lost.
    let chain = lost("loss state 1% 25%");
    // A burst counts as one event, so the error is larger by about the root of twice its length.
    near(share(&chain), 0.01 / 0.26, count / 8.0, "a chain of two states");
    let bursts = 1 + chain.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    let length = chain.len() as f64 / bursts as f64;
    assert!((length - 4.0).abs() < 0.4, "bursts of {length}");

    let alone = lost("loss state 0% 100% 0% 100% 2%");
    near(share(&alone), 0.02 / 1.02, count, "losses alone");
    assert!(alone.windows(2).all(|pair| pair[1] > pair[0] + 1), "never two in a row");

    near(share(&lost("loss gemodel 2%")), 0.02, count, "Bernoulli's as Gilbert's");
    // In the bad state p / (p + r) of the time, where 70% are lost, and 0.1% otherwise.
    let bad = 1.0 / 11.0;
    let expected = bad * 0.7 + (1.0 - bad) * 0.001;
    near(
        share(&lost("loss gemodel 1% 10% 70% 0.1%")),
        expected,
        count / 20.0,
        "Gilbert and Elliott",
    );

    assert!(lost("loss 0%").is_empty());
    assert_eq!(lost("loss 100%").len(), COUNT as usize);
}

#[test]
fn what_would_be_lost_is_marked_instead() {
    let mut tree = tree(&["qdisc root netem loss 50% ecn"]);
    let v6 = |class: u8| {
        let mut data = vec![0; 48];
        data[0] = 0x60 | class >> 4;
        data[1] = class << 4;
        data
    };
    let v4 = |tos| {
        Ip {
            tos,
            ..Ip::v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)
        }
        .udp(1, 2, &[0; 20])
    };
    let mut lost = 0;
    let mut marked = 0;
    for id in 0..4000 {
        let (capable, data) = match id % 4 {
            0 => (true, v4(2)),
            1 => (true, v6(1)),
            2 => (false, v4(0)),
            _ => (false, v6(0)),
        };
        let sent = TestPacket {
            data,
            ..packet(id, 1, 100)
        };
        let before = sent.clone();
        tree.enqueue(sent, 0, &mut |_, reason| {
            assert!(!capable && reason == DropReason::NetemLoss);
            lost += 1;
        });
        if let Some(after) = tree.dequeue(0, &mut no_drop)
            && after != before
        {
            assert!(capable);
            assert_eq!(Headers::parse(&after.data).unwrap().tos & 3, 3);
            marked += 1;
        }
    }
    near(f64::from(lost) / 2000.0, 0.5, 2000.0, "lost");
    near(f64::from(marked) / 2000.0, 0.5, 2000.0, "marked");
    assert_eq!(extra(&tree).ecn_mark, u64::from(marked as u32));
}

#[test]
fn duplicates_and_corruptions() {
    let (sent, _, tree) = through("duplicate 20%", 20_000, 1000);
    near((sent.len() - 20_000) as f64 / 20_000.0, 0.2, 20_000.0, "duplicates");
    assert_eq!(extra(&tree).duplicated as usize, sent.len() - 20_000);
    assert!(
        sent.windows(3).all(|three| three[0].0 != three[2].0),
        "no duplicate is doubled"
    );
    // Lost and doubled is one packet again: 1 + 0.5 - 0.5 in the mean.
    let (sent, dropped, _) = through("duplicate 50% loss 50%", 20_000, 1000);
    near(
        dropped.len() as f64 / 20_000.0,
        0.25 + 0.125,
        20_000.0,
        "lost, or the duplicate lost",
    );
    assert!(sent.len() < 20_000);

    let mut tree = self::tree(&["qdisc root netem corrupt 10%"]);
    let mut corrupted = 0;
    let mut places = std::collections::BTreeSet::new();
    for id in 0..20_000 {
        let before = packet(id, 1, 100);
        tree.enqueue(before.clone(), 0, &mut no_drop);
        let after = tree.dequeue(0, &mut no_drop).unwrap();
        let flipped: u32 = std::iter::zip(&before.data, &after.data)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert!(flipped <= 1);
        corrupted += flipped;
        places.extend((0..100).find(|place| before.data[*place] != after.data[*place]));
    }
    near(f64::from(corrupted) / 20_000.0, 0.1, 20_000.0, "corrupted");
    assert_eq!(places.len(), 100, "any byte can be hit");
}

#[test]
fn of_a_superpacket_the_first_segment_is_corrupted() {
    let mut tree = tree(&["qdisc root netem corrupt 100% delay 1ms"]);
    let mut big = packet(0, 1, 28 + 2500);
    big.segment_size = 1000;
    tree.enqueue(big, 0, &mut no_drop);
    assert_eq!((tree.len(), tree.backlog_bytes()), (3, 2500 + 3 * 28));
    // Each segment is a packet of its own now, and each of those is corrupted.
    assert_eq!(extra(&tree).corrupted, 3);
    let out: Vec<_> = std::iter::from_fn(|| tree.dequeue(MILLISECOND, &mut no_drop)).collect();
    assert_eq!(
        out.iter().map(|packet| packet.data.len()).collect::<Vec<_>>(),
        [1028, 1028, 528]
    );
    assert_eq!((tree.len(), tree.backlog_bytes()), (0, 0));
}

#[test]
fn reordered_packets_are_not_delayed() {
    let (sent, _, tree) = through("delay 10ms reorder 25%", 20_000, MILLISECOND);
    let early = sent.iter().filter(|(_, delay)| *delay == 0).count();
    near(early as f64 / 20_000.0, 0.25, 20_000.0, "reordered");
    assert!(sent.iter().all(|(_, delay)| *delay == 0 || *delay == 10 * MILLISECOND));
    assert_eq!(extra(&tree).reordered, early as u64);

    let (mut sent, _, _) = through("delay 10ms reorder 100% gap 5", 1000, MILLISECOND);
    sent.sort_unstable();
    let every_fifth = |(place, (_, delay)): (usize, &(u64, u64))| (*delay == 0) == (place % 5 == 4);
    assert!(sent.iter().enumerate().all(every_fifth), "every fifth");
}

#[test]
fn the_rate_is_kept_and_counts_cells() {
    // 1,000 bytes at 8 Mbit/s are 1 ms each, one after the other.
    let (sent, _, _) = through("rate 8mbit", 100, 0);
    assert!(sent.iter().all(|(id, delay)| *delay == (id + 1) * MILLISECOND), "{sent:?}");
    let (sent, _, _) = through("rate 8mbit delay 10ms", 100, 0);
    assert!(
        sent.iter().all(|(id, delay)| *delay == (id + 11) * MILLISECOND),
        "the delay is had while others are sent"
    );
    // 1,014 bytes are 22 cells of 48, each with 5 more: 1,166 bytes.
    let (sent, _, _) = through("rate 8mbit 14 48 5", 100, 0);
    assert!(sent.iter().all(|(id, delay)| *delay == (id + 1) * 1_166_000), "{sent:?}");
    let (sent, _, _) = through("rate 8mbit -2000", 3, 0);
    assert!(sent.iter().all(|(_, delay)| *delay == 0), "less than nothing takes no time");
}

#[test]
fn slots_let_packets_go_in_bursts() {
    let (sent, _, _) = through("slot 20ms 20ms packets 5", 100, MILLISECOND);
    let mut times: Vec<u64> = sent
        .iter()
        .map(|(id, delay)| (id * MILLISECOND + delay) / MILLISECOND)
        .collect();
    assert_eq!(sent.len(), 100);
    assert!(sent.is_sorted_by_key(|(id, _)| *id));
    let mut bursts = Vec::new();
    for time in times.drain(..) {
        match bursts.last_mut() {
            Some((last, count)) if *last == time => *count += 1,
            _ => bursts.push((time, 1)),
        }
    }
    assert!(bursts.iter().all(|(_, count)| *count <= 5), "{bursts:?}");
    assert!(bursts.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 20), "{bursts:?}");

    let (sent, _, _) = through("slot distribution normal 10ms 1ms bytes 3000", 200, 100_000);
    assert_eq!(sent.len(), 200);
    let last = sent.iter().map(|(id, delay)| id * 100_000 + delay).max().unwrap();
    // Three packets a slot of 10 ms.
    assert!((600..740).contains(&(last / MILLISECOND)), "{last}");
}

#[test]
fn the_limit_counts_what_waits() {
    let mut tree = tree(&["qdisc root netem delay 10ms limit 3"]);
    let mut dropped = Vec::new();
    for id in 0..5 {
        tree.enqueue(packet(id, 1, 100), 0, &mut |packet, reason| dropped.push((packet.id, reason)));
    }
    assert_eq!(dropped, [(3, DropReason::Overlimit), (4, DropReason::Overlimit)]);
    assert_eq!((tree.len(), tree.poll_timeout().is_some()), (3, true));
}

#[test]
fn a_seed_makes_the_same_again() {
    let words = "delay 10ms 9ms 20% loss 5% duplicate 3% reorder 10% seed 7";
    assert_eq!(through(words, 2000, MILLISECOND).0, through(words, 2000, MILLISECOND).0);
    assert_ne!(
        through(words, 2000, MILLISECOND).0,
        through(&words.replace('7', "8"), 2000, MILLISECOND).0
    );
}

#[test]
fn a_discipline_behind_the_delay() {
    let mut tree = tree(&[
        "qdisc root handle 1: netem delay 10ms",
        "qdisc parent 1:1 handle 10: tbf rate 8mbit burst 1000 limit 10k",
    ]);
    for id in 0..5 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut no_drop);
    }
    let mut now = 0;
    let sent: Vec<u64> = run(&mut tree, &mut now, SECOND, |_, _| {})
        .into_iter()
        .map(|(time, _)| time)
        .collect();
    assert_eq!(sent, [10, 11, 12, 13, 14].map(|time| time * MILLISECOND));
    assert_eq!((tree.len(), tree.poll_timeout()), (0, None));
    let stats = tree.stats();
    assert_eq!(
        stats.iter().map(|stats| stats.sent.packets).collect::<Vec<_>>(),
        [5, 5, 5, 5],
        "netem, tbf and its queue"
    );
}

#[test]
fn a_change_keeps_what_waits() {
    let mut tree = tree(&["qdisc root handle 1: netem delay 10ms"]);
    for id in 0..3 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut no_drop);
    }
    tree.apply(&items(&["qdisc root handle 1: netem delay 20ms"]), MILLISECOND)
        .unwrap();
    tree.enqueue(packet(3, 1, 1000), MILLISECOND, &mut no_drop);
    assert_eq!((tree.len(), tree.backlog_bytes()), (4, 4000));
    let mut now = MILLISECOND;
    let sent: Vec<u64> = run(&mut tree, &mut now, SECOND, |_, _| {})
        .into_iter()
        .map(|(time, _)| time)
        .collect();
    assert_eq!(sent, [10, 10, 10, 21].map(|time| time * MILLISECOND));
}

#[test]
fn duplicates_and_segments_are_counted_all_the_way_up() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb default 10",
        "class parent 1: classid 1:10 htb rate 8mbit",
        "qdisc parent 1:10 handle 10: netem delay 1ms duplicate 50% corrupt 20% loss 10% limit 20",
    ]);
    let (mut sent, mut dropped) = (0, 0);
    let mut segments = 0;
    for id in 0..2000 {
        let now = id * 600_000;
        let mut packet = packet(id, 1, 28 + 300);
        if id % 5 == 0 {
            packet.segment_size = 100;
        }
        tree.enqueue(packet, now, &mut |_, _| dropped += 1);
        while let Some(packet) = tree.dequeue(now, &mut |_, _| dropped += 1) {
            sent += 1;
            segments += u64::from(packet.segment_size == 0);
        }
    }
    while let Some(now) = tree.poll_timeout() {
        sent += u64::from(tree.dequeue(now, &mut |_, _| dropped += 1).is_some());
    }
    assert!(sent > 2000 && dropped > 100 && segments > 0, "{sent} {dropped}");
    assert_eq!((tree.len(), tree.backlog_bytes()), (0, 0));
    for stats in tree.stats() {
        assert_eq!((stats.backlog.packets, stats.backlog.bytes), (0, 0), "{stats}");
        assert_eq!(stats.dropped, dropped, "{stats}");
    }
    let netem = tree.stats().into_iter().find(|stats| stats.kind() == "netem").unwrap();
    assert_eq!(netem.reasons.iter().map(|(_, count)| count).sum::<u64>(), dropped);
}
