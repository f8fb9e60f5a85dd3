use super::*;

/// Keeps `count` packets of `len` waiting.
fn saturate(len: usize, count: usize) -> impl FnMut(&mut Tree<TestPacket>, u64) {
    let mut id = 0;
    move |tree, now| {
        while tree.len() < count {
            tree.enqueue(packet(id, 1, len), now, &mut no_drop);
            id += 1;
        }
    }
}

#[test]
fn rates_are_kept_within_half_a_percent() {
    for mbit in [1_u64, 10, 100, 500] {
        for len in [256, 1420] {
            let mut tree = tree(&[&format!("qdisc root tbf rate {mbit}mbit burst 3000 latency 1s")]);
            let (mut now, mut fill) = (0, saturate(len, 4));
            let time = if mbit == 1 { 2 * SECOND } else { SECOND / 10 };
            run(&mut tree, &mut now, SECOND / 10, &mut fill);
            let sent = run(&mut tree, &mut now, SECOND / 10 + time, &mut fill);
            let bits = (sent.len() * len * 8) as f64;
            let error = bits / (mbit as f64 * time as f64 / 1e3) - 1.0;
            // One packet more or less is what the borders of the interval make.
            let slack = (len * 8) as f64 / (mbit as f64 * time as f64 / 1e3);
            assert!(error.abs() <= 1e-4 + slack, "{mbit} Mbit/s, {len} bytes: {error}");
        }
    }
}

#[test]
fn a_full_bucket_is_one_burst() {
    let mut tree = tree(&["qdisc root tbf rate 8mbit burst 10000 latency 1s"]);
    for id in 0..20 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut no_drop);
    }
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    let at_once = sent.iter().filter(|(time, _)| *time == 0).count();
    assert_eq!(at_once, 10);
    assert_eq!(sent[10].0, 1_000_000, "then one a millisecond");
    assert_eq!(sent[19].0, 10_000_000);
}

#[test]
fn the_peak_rate_spreads_a_burst() {
    let mut tree = tree(&["qdisc root tbf rate 8mbit burst 10000 latency 1s peakrate 80mbit mtu 1000"]);
    for id in 0..20 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut no_drop);
    }
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    let times: Vec<u64> = sent.iter().take(10).map(|(time, _)| *time / 1000).collect();
    assert_eq!(times, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    assert_eq!(sent[19].0, 10_000_000);
}

#[test]
fn what_is_larger_than_the_bucket_is_split_or_dropped() {
    let mut tree = tree(&["qdisc root tbf rate 8mbit burst 1028 limit 10k"]);
    let mut big = packet(0, 1, 28 + 3000);
    big.segment_size = 1000;
    tree.enqueue(big, 0, &mut no_drop);
    assert_eq!(tree.len(), 3);
    let mut dropped = Vec::new();
    tree.enqueue(packet(1, 1, 1029), 0, &mut |packet, reason| dropped.push((packet.id, reason)));
    assert_eq!(dropped, [(1, DropReason::TooBig)]);
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    assert_eq!(sent.iter().map(|(time, _)| *time / 1000).collect::<Vec<_>>(), [0, 1028, 2056]);
}

#[test]
fn the_limit_is_in_bytes_and_named() {
    let mut tree = tree(&["qdisc root tbf rate 8kbit burst 2000 limit 3000"]);
    let mut dropped = Vec::new();
    for id in 0..5 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut |packet, reason| {
            dropped.push((packet.id, reason))
        });
    }
    assert_eq!(dropped, [(3, DropReason::Overlimit), (4, DropReason::Overlimit)]);
    assert_eq!(tree.stats()[0].dropped, 2);
}

#[test]
fn what_came_in_before_the_bucket_shrank_still_goes() {
    let mut tree = tree(&["qdisc root handle 1: tbf rate 8mbit burst 2000 limit 10k"]);
    for id in 0..3 {
        tree.enqueue(packet(id, 1, 1500), 0, &mut no_drop);
    }
    tree.apply(&items(&["qdisc root handle 1: tbf rate 8mbit burst 1000 limit 10k"]), 0)
        .unwrap();
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    let times: Vec<u64> = sent.iter().map(|(time, _)| *time / 1000).collect();
    assert_eq!(times, [0, 1500, 3000], "at the rate, in the long run");
}

#[test]
fn a_late_caller_costs_no_rate() {
    let mut rng = fastrand::Rng::with_seed(9);
    for mbit in [10_u64, 100, 500] {
        let mut tree = tree(&[&format!("qdisc root tbf rate {mbit}mbit burst 3000 latency 1s")]);
        let (mut now, mut sent, mut fill) = (0, 0, saturate(1420, 4));
        let time = SECOND / 2;
        while now < time {
            fill(&mut tree, now);
            while let Some(packet) = tree.dequeue(now, &mut no_drop) {
                sent += packet.data.len();
                fill(&mut tree, now);
            }
            now = tree.poll_timeout().unwrap() + rng.u64(0..300_000);
        }
        let error = sent as f64 * 8e3 / (mbit as f64 * now as f64) - 1.0;
        assert!(error.abs() <= 0.005, "{mbit} Mbit/s: {error}");
    }
    // But a queue that was empty saves nothing up.
    let mut tree = tree(&["qdisc root tbf rate 8mbit burst 2000 latency 1s"]);
    for id in 0..3 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut no_drop);
    }
    run(&mut tree, &mut 0, SECOND, |_, _| {});
    for id in 0..10 {
        tree.enqueue(packet(id, 1, 1000), 10 * SECOND, &mut no_drop);
    }
    let at_once = std::iter::from_fn(|| tree.dequeue(10 * SECOND, &mut no_drop)).count();
    assert_eq!(at_once, 2);
}
