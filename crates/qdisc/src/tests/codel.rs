use std::net::Ipv4Addr;

use super::*;
use crate::{ApplyError, CodelStats, Extra};

fn extra(tree: &Tree<TestPacket>) -> CodelStats {
    let of = |stats: crate::Stats| match stats.extra {
        Extra::Codel(stats) => Some(stats),
        _ => None,
    };
    tree.stats().into_iter().find_map(of).unwrap()
}

/// 20 Mbit/s into 10 Mbit/s for `millis`; what was sent.
fn overload(words: &str, tos: u8, millis: u64) -> (Tree<TestPacket>, Vec<TestPacket>) {
    let mut tree = tree(&[
        "qdisc root handle 1: tbf rate 10mbit burst 3000 limit 1g",
        &format!("qdisc parent 1:1 handle 10: codel {words}"),
    ]);
    let ip = Ip {
        tos,
        ..Ip::v4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
    };
    let data = ip.udp(1, 2, &[0; 1222]);
    let (mut now, mut id) = (0, 0);
    let mut sent = Vec::new();
    while now < millis * 1_000_000 {
        if id * 500_000 <= now {
            id += 1;
            let data = data.clone();
            tree.enqueue(
                TestPacket {
                    id,
                    data,
                    ..packet(0, 1, 28)
                },
                now,
                &mut |_, _| {},
            );
        }
        while let Some(packet) = tree.dequeue(now, &mut |_, _| {}) {
            sent.push(packet);
        }
        now = tree
            .poll_timeout()
            .into_iter()
            .chain([id * 500_000])
            .min()
            .unwrap()
            .max(now + 1);
    }
    (tree, sent)
}

/// Why codel dropped packets, and how many.
fn reasons(tree: &Tree<TestPacket>) -> Vec<(DropReason, u64)> {
    let codel = tree.stats().into_iter().find(|stats| stats.kind() == "codel");
    codel.unwrap().reasons
}

#[test]
fn one_queue_is_kept_short() {
    let (tree, sent) = overload("", 2, 1000);
    assert!(
        matches!(reasons(&tree)[..], [(DropReason::Codel, 11..)]),
        "{:?}",
        reasons(&tree)
    );
    let gaps = sent.windows(2).filter(|pair| pair[1].id != pair[0].id + 1).count();
    assert!(gaps > 10, "drops are spread out: {gaps}");
    let stats = extra(&tree);
    assert!(stats.dropping && stats.count > 10 && stats.ldelay > 5000, "{stats:?}");
    assert_eq!((stats.ecn_mark, stats.max_packet), (0, 1250), "ECN is off unless asked for");

    let (tree, sent) = overload("ecn", 2, 1000);
    let marked = sent.iter().filter(|packet| packet.data[1] & 3 == 3).count() as u64;
    assert!(marked > 10 && extra(&tree).ecn_mark - marked <= 1, "{marked}");
    assert!(reasons(&tree).is_empty());
}

#[test]
fn at_the_limit_the_newest_goes() {
    let (tree, sent) = overload("limit 10 target 1s", 0, 100);
    let stats = extra(&tree);
    assert!(stats.drop_overlimit > 50);
    assert_eq!(reasons(&tree), [(DropReason::Overlimit, stats.drop_overlimit)]);
    assert!(sent.is_sorted_by_key(|packet| packet.id) && sent.len() > 90);
}

#[test]
fn cake_is_the_kernels_alone() {
    let mut tree = Tree::<TestPacket>::new(Settings::default());
    let error = tree.apply(&items(&["qdisc root cake bandwidth 10mbit"]), 0).unwrap_err();
    assert_eq!(error, ApplyError::Unsupported("cake", "fq_codel below htb"));
    assert!(error.to_string().contains("use fq_codel below htb"), "{error}");
}
