use super::*;

/// The text of a queue that nothing went through is what tc 6.1 printed on Linux for the same words, without the number of
/// references.
#[test]
fn statistics_look_like_tcs() {
    for (words, expected) in [
        (
            "htb default 10",
            "qdisc htb 1: root r2q 10 default 0x10 direct_packets_stat 0 direct_qlen 1000",
        ),
        (
            "tbf rate 1mbit burst 10k latency 50ms",
            "qdisc tbf 1: root rate 1Mbit burst 10Kb lat 50ms",
        ),
        ("pfifo", "qdisc pfifo 1: root limit 1000p"),
        ("bfifo limit 1514000", "qdisc bfifo 1: root limit 1514000b"),
        ("prio", "qdisc prio 1: root bands 3 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"),
        (
            "sfq perturb 10",
            "qdisc sfq 1: root limit 127p quantum 1500b depth 127 divisor 1024 perturb 10sec",
        ),
    ] {
        let tree = tree(&[&format!("qdisc root handle 1: {words}")]);
        let text = tree.stats()[0].to_string();
        let expected =
            format!("{expected}\n Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0");
        assert_eq!(text, expected);
    }
}

#[test]
fn an_htb_class_looks_like_tcs() {
    let mut tree = tree(&[
        "qdisc root handle 1: htb default 10",
        "class parent 1: classid 1:1 htb rate 2mbit burst 1600 cburst 1600",
        "class parent 1:1 classid 1:10 htb rate 1mbit ceil 2mbit burst 1600 cburst 1600",
        "qdisc parent 1:10 handle 20: pfifo limit 2",
    ]);
    let mut lost = 0;
    for id in 0..4 {
        tree.enqueue(packet(id, 1, 1000), 0, &mut |_, _| lost += 1);
    }
    tree.dequeue(0, &mut no_drop).unwrap();
    assert_eq!(lost, 2);
    let stats = tree.stats();
    let text: Vec<String> = stats.iter().map(ToString::to_string).collect();
    // 600 bytes are left of either bucket: 4.8 and 2.4 ms, in ticks of 64 ns.
    assert_eq!(
        text[2],
        "class htb 1:10 parent 1:1 leaf 20: prio 0 rate 1Mbit ceil 2Mbit burst 1600b cburst 1600b\n \
         Sent 1000 bytes 1 pkt (dropped 2, overlimits 0 requeues 0) \n backlog 1000b 1p requeues 0\n \
         lended: 1 borrowed: 0 giants: 0\n tokens: 75000 ctokens: 37500"
    );
    assert_eq!(
        text[3],
        "qdisc pfifo 20: parent 1:10 limit 2p\n Sent 1000 bytes 1 pkt (dropped 2, overlimits 0 requeues 0) \n \
         backlog 1000b 1p requeues 0\n dropped by reason: overlimit 2"
    );
    assert!(text[1].starts_with("class htb 1:1 root rate 2Mbit"), "{}", text[1]);

    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json[0]["kind"], "htb");
    assert_eq!(json[0]["root"], true);
    assert_eq!(json[0]["options"]["default"], "0x10");
    assert_eq!(json[0]["drops"], 2);
    assert_eq!(json[2]["class"], "htb");
    assert_eq!(json[2]["tokens"], 75_000);
    assert_eq!(json[3]["drop_reasons"]["overlimit"], 2);
    assert_eq!((&json[3]["qlen"], &json[3]["backlog"]), (&1.into(), &1000.into()));
}

#[test]
fn lengths_are_charged_by_the_nearest_stab() {
    let mut tree = tree(&[
        "qdisc root handle 1: stab overhead 10 htb default 10",
        "class parent 1: classid 1:10 htb rate 8mbit",
        "qdisc parent 1:10 handle 10: stab linklayer wireguard overhead 28 pfifo",
    ]);
    tree.enqueue(packet(0, 1, 1000), 0, &mut no_drop);
    // 1,000 are padded to 1,008; header and tag 32, outer headers 28.
    assert_eq!(tree.backlog_bytes(), 1068);
    tree.dequeue(0, &mut no_drop).unwrap();
    assert_eq!((tree.len(), tree.backlog_bytes()), (0, 0));
    let sent: Vec<u64> = tree.stats().iter().map(|stats| stats.sent.bytes).collect();
    assert_eq!(sent, [1010, 1010, 1068]);
    assert!(tree.stats()[0].to_string().contains("stab overhead 10"));
}
