use super::*;

#[test]
fn flows_share_though_one_sends_ten_times_as_much() {
    let mut tree = tree(&[
        "qdisc root handle 1: tbf rate 10mbit burst 2000 limit 100k",
        "qdisc parent 1:1 handle 2: sfq",
    ]);
    let mut id = 0;
    let mut now = 0;
    let sent = run(&mut tree, &mut now, 2 * SECOND, |tree, now| {
        // For each packet that leaves, eleven come: one large, ten small.
        for _ in 0..11 {
            let (sport, len) = if id % 11 == 0 { (1, 1400) } else { (2, 700) };
            tree.enqueue(packet(id, sport, len), now, &mut |_, _| {});
            id += 1;
        }
    });
    let bytes = |sport: u16| -> usize {
        let of = |packet: &&(u64, TestPacket)| Headers::parse(&packet.1.data).unwrap().sport == sport;
        sent.iter().filter(of).map(|(_, packet)| packet.data.len()).sum()
    };
    let (one, two) = (bytes(1) as f64, bytes(2) as f64);
    let jain = (one + two).powi(2) / (2.0 * (one * one + two * two));
    assert!(jain > 0.99, "{one} and {two}");
}

#[test]
fn the_longest_flow_pays_when_the_queue_is_full() {
    for (words, lost) in [("limit 10", 9), ("limit 10 headdrop", 0)] {
        let mut tree = tree(&[&format!("qdisc root sfq {words}")]);
        for id in 0..10 {
            tree.enqueue(packet(id, 1, 100), 0, &mut no_drop);
        }
        let mut dropped = Vec::new();
        tree.enqueue(packet(10, 2, 100), 0, &mut |packet, reason| dropped.push((packet.id, reason)));
        assert_eq!(dropped, [(lost, DropReason::Overlimit)], "{words}");
        assert_eq!(tree.len(), 10);
    }
}

#[test]
fn one_flow_has_a_limit_of_its_own() {
    let mut tree = tree(&["qdisc root sfq depth 3 limit 100"]);
    let mut dropped = Vec::new();
    for id in 0..5 {
        tree.enqueue(packet(id, 1, 100), 0, &mut |packet, reason| dropped.push((packet.id, reason)));
    }
    assert_eq!(dropped, [(3, DropReason::FlowLimit), (4, DropReason::FlowLimit)]);
}

#[test]
fn shuffling_keeps_the_order_within_each_flow() {
    let mut tree = tree(&["qdisc root sfq perturb 1 limit 120"]);
    for id in 0..100 {
        tree.enqueue(packet(id, (id % 10) as u16, 100), 0, &mut no_drop);
    }
    let mut last = [None; 10];
    for step in 0..100 {
        let packet = tree.dequeue(step * SECOND / 10, &mut no_drop).unwrap();
        let flow = (packet.id % 10) as usize;
        assert!(last[flow].is_none_or(|last| last < packet.id));
        last[flow] = Some(packet.id);
    }
    assert!(tree.is_empty());
}

#[test]
fn superpackets_of_one_flow_do_not_starve_small_packets_of_another() {
    let mut tree = tree(&["qdisc root sfq quantum 1500 limit 120"]);
    for id in 0..20 {
        let mut big = packet(id, 1, 28 + 60_000);
        big.segment_size = 1392;
        tree.enqueue(big, 0, &mut no_drop);
        tree.enqueue(packet(100 + id, 2, 1000), 0, &mut no_drop);
    }
    let out: Vec<u64> = std::iter::from_fn(|| tree.dequeue(0, &mut no_drop))
        .map(|packet| packet.id)
        .collect();
    assert_eq!(out.len(), 40);
    let small = out.iter().rposition(|id| *id >= 100).unwrap();
    assert!(
        small <= 22,
        "all small packets go within the time of two superpackets: {out:?}"
    );
}
