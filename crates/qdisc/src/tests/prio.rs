use super::*;

fn tos(id: u64, tos: u8) -> TestPacket {
    let mut packet = packet(id, 1, 100);
    packet.data[1] = tos;
    packet
}

#[test]
fn an_earlier_band_always_goes_first() {
    let mut tree = tree(&["qdisc root handle 1: prio"]);
    // Bulk, normal, interactive; then by class.
    for (id, tos_byte) in [(0, 0x08), (1, 0x00), (2, 0x10)] {
        tree.enqueue(tos(id, tos_byte), 0, &mut no_drop);
    }
    let mut classified = tos(3, 0x08);
    classified.priority = 0x1_0001;
    assert_eq!(tree.class_of(&classified)[1].minor, 1);
    tree.enqueue(classified, 0, &mut no_drop);
    let out: Vec<u64> = std::iter::from_fn(|| tree.dequeue(0, &mut no_drop))
        .map(|packet| packet.id)
        .collect();
    assert_eq!(out, [2, 3, 1, 0]);
    let sent: Vec<u64> = tree
        .stats()
        .iter()
        .filter(|stats| stats.is_class())
        .map(|stats| stats.sent.packets)
        .collect();
    assert_eq!(sent, [2, 1, 1]);
}

#[test]
fn a_band_that_waits_lets_the_next_go() {
    let mut tree = tree(&[
        "qdisc root handle 1: prio",
        "qdisc parent 1:1 handle 10: tbf rate 8mbit burst 1000 limit 10000",
    ]);
    for id in 0..4 {
        let mut packet = packet(id, 1, 1000);
        packet.priority = 0x1_0001 + id as u32 / 2;
        tree.enqueue(packet, 0, &mut no_drop);
    }
    let sent = run(&mut tree, &mut 0, SECOND, |_, _| {});
    let order: Vec<(u64, u64)> = sent.iter().map(|(time, packet)| (*time, packet.id)).collect();
    assert_eq!(order, [(0, 0), (0, 2), (0, 3), (1_000_000, 1)]);
}

#[test]
fn fewer_bands_keep_what_waited_in_the_others() {
    let mut tree = tree(&["qdisc root handle 1: prio bands 4"]);
    for id in 0..4 {
        let mut packet = packet(id, 1, 100);
        packet.priority = 0x1_0001 + id as u32;
        tree.enqueue(packet, 0, &mut no_drop);
    }
    tree.apply(&items(&["qdisc root handle 1: prio bands 3"]), 0).unwrap();
    assert_eq!(tree.len(), 4);
    let mut out: Vec<u64> = std::iter::from_fn(|| tree.dequeue(0, &mut no_drop))
        .map(|packet| packet.id)
        .collect();
    out.sort_unstable();
    assert_eq!(out, [0, 1, 2, 3]);
}
