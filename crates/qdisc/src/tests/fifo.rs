use super::*;

#[test]
fn without_disciplines_it_is_a_queue_of_txqueuelen() {
    let mut tree = Tree::new(Settings {
        txqueuelen: 2,
        ..Settings::default()
    });
    let mut dropped = Vec::new();
    for id in 0..3 {
        tree.enqueue(packet(id, 1, 100), 0, &mut |packet, reason| dropped.push((packet.id, reason)));
    }
    assert_eq!(dropped, [(2, DropReason::Overlimit)]);
    assert_eq!((tree.len(), tree.backlog_bytes()), (2, 200));
    assert_eq!(tree.poll_timeout(), Some(0));
    let out: Vec<u64> = std::iter::from_fn(|| tree.dequeue(0, &mut no_drop))
        .map(|packet| packet.id)
        .collect();
    assert_eq!(out, [0, 1]);
    assert_eq!((tree.len(), tree.backlog_bytes(), tree.poll_timeout()), (0, 0, None));
    let stats = &tree.stats()[0];
    assert_eq!((stats.sent.packets, stats.sent.bytes, stats.dropped), (2, 200, 1));
    assert_eq!(stats.reasons, [(DropReason::Overlimit, 1)]);
}

#[test]
fn bfifo_counts_bytes() {
    let mut tree = tree(&["qdisc root bfifo limit 250"]);
    let mut dropped = Vec::new();
    for (id, len) in [(0, 100), (1, 100), (2, 100), (3, 50)] {
        tree.enqueue(packet(id, 1, len), 0, &mut |packet, _| dropped.push(packet.id));
    }
    assert_eq!(dropped, [2], "the third does not fit, the small one after it does");
}

#[test]
fn a_superpacket_is_charged_with_the_headers_of_each_segment() {
    let mut tree = tree(&["qdisc root bfifo limit 1m"]);
    let mut big = packet(0, 1, 28 + 2500);
    big.segment_size = 1000;
    tree.enqueue(big, 0, &mut no_drop);
    assert_eq!(tree.backlog_bytes(), 3 * 28 + 2500);
    assert!(tree.dequeue(0, &mut no_drop).is_some());
    assert_eq!(tree.stats()[0].sent.packets, 3);
}

#[test]
fn applying_the_same_again_keeps_the_queue_and_another_kind_requeues_it() {
    let mut tree = tree(&["qdisc root handle 1: pfifo limit 10"]);
    for id in 0..5 {
        tree.enqueue(packet(id, 1, 100), 0, &mut no_drop);
    }
    tree.apply(&items(&["qdisc root handle 1: pfifo limit 3"]), 0).unwrap();
    assert_eq!(tree.len(), 5, "a smaller limit takes nothing away");
    tree.apply(&items(&["qdisc root handle 1: tbf rate 1gbit burst 10k latency 1s"]), 0)
        .unwrap();
    assert_eq!(tree.len(), 5);
    let out: Vec<u64> = std::iter::from_fn(|| tree.dequeue(0, &mut no_drop))
        .map(|packet| packet.id)
        .collect();
    assert_eq!(out, [0, 1, 2, 3, 4]);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut tree = tree(&["qdisc root handle 1: pfifo"]);
    for (lines, said) in [
        (&["qdisc parent 1:1 pfifo"][..], "root"),
        (&["qdisc root handle 1: pfifo", "qdisc root handle 2: pfifo"], "root"),
        (&["qdisc root handle 1: pfifo", "qdisc parent 1:1 pfifo"], "1:1"),
        (
            &[
                "qdisc root handle 1: tbf rate 1mbit burst 2k latency 1s",
                "qdisc parent 1:2 pfifo",
            ],
            "1:2",
        ),
        (
            &[
                "qdisc root handle 1: tbf rate 1mbit burst 2k latency 1s",
                "qdisc parent 1:1 handle 1: pfifo",
            ],
            "1:",
        ),
        (&["qdisc root cake"], "cake"),
    ] {
        let error = tree.apply(&items(lines), 0).expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(tree.stats()[0].kind(), "pfifo");
    }
}
