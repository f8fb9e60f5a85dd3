use fielato_wire::build::Ip;

use super::*;

const CLASSES: [&str; 5] = [
    "qdisc root handle 1: htb default 99",
    "class parent 1: classid 1:1 htb rate 100mbit",
    "class parent 1:1 classid 1:10 htb rate 10mbit",
    "class parent 1:1 classid 1:20 htb rate 10mbit",
    "class parent 1: classid 1:99 htb rate 10mbit",
];

/// The class of each packet, with these filters; 0 when direct.
fn classes(filters: &[&str], packets: &[TestPacket]) -> Vec<u16> {
    let mut lines = CLASSES.to_vec();
    lines.extend(filters);
    let tree = tree(&lines);
    packets
        .iter()
        .map(|packet| tree.class_of(packet).last().map_or(0, |class| class.minor))
        .collect()
}

fn made(data: Vec<u8>) -> TestPacket {
    TestPacket {
        data,
        ..packet(0, 0, 28)
    }
}

fn v4_tcp(dport: u16) -> TestPacket {
    let ip = Ip::between("10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap()).unwrap();
    made(ip.tcp(&fielato_wire::build::Tcp::new(40_000, dport).syn()))
}

fn v6_udp(dport: u16) -> TestPacket {
    let ip = Ip::between("fd00:1::5".parse().unwrap(), "2001:db8::1".parse().unwrap()).unwrap();
    made(ip.tos(0xb8).udp(40_000, dport, b"hello"))
}

#[test]
fn every_kind_of_filter_finds_what_it_looks_for() {
    let mut marked = v4_tcp(80);
    marked.mark = 0x105;
    let packets = [v4_tcp(443), v4_tcp(80), v6_udp(443), v6_udp(53), marked];
    for (filter, expected) in [
        ("protocol ip u32 match ip dport 443 ffff", [0x10, 0x99, 0x99, 0x99, 0x99]),
        (
            "protocol ip u32 match ip src 10.0.0.0/8 match ip protocol 6 ff",
            [0x10, 0x10, 0x99, 0x99, 0x10],
        ),
        ("protocol ip u32 match ip dst 192.0.2.2", [0x99, 0x99, 0x99, 0x99, 0x99]),
        ("protocol ipv6 u32 match ip6 dport 53 ffff", [0x99, 0x99, 0x99, 0x10, 0x99]),
        (
            "protocol ipv6 u32 match ip6 src fd00:1::/32 match ip6 dst 2001:db8::1",
            [0x99, 0x99, 0x10, 0x10, 0x99],
        ),
        ("protocol ipv6 u32 match ip6 priority 0xb8 fc", [0x99, 0x99, 0x10, 0x10, 0x99]),
        ("u32 match u16 443 ffff at nexthdr+2", [0x10, 0x99, 0x10, 0x99, 0x99]),
        ("u32 match mark 5 0xff", [0x99, 0x99, 0x99, 0x99, 0x10]),
        ("u32 match u32 0 0 at 60000", [0x99, 0x99, 0x99, 0x99, 0x99]),
        ("handle 0x5/0xff fw", [0x99, 0x99, 0x99, 0x99, 0x10]),
        ("handle 0x105 fw", [0x99, 0x99, 0x99, 0x99, 0x10]),
        ("handle 5 fw", [0x99, 0x99, 0x99, 0x99, 0x99]),
        ("matchall", [0x10, 0x10, 0x10, 0x10, 0x10]),
        ("protocol ipv6 matchall", [0x99, 0x99, 0x10, 0x10, 0x99]),
        ("flower dst_ip 192.0.2.0/24", [0x10, 0x10, 0x99, 0x99, 0x10]),
        (
            "flower src_ip fd00::/8 ip_proto udp dst_port 50-60",
            [0x99, 0x99, 0x99, 0x10, 0x99],
        ),
        ("flower ip_tos b8/fc", [0x99, 0x99, 0x10, 0x10, 0x99]),
        ("flower ip_proto tcp", [0x10, 0x10, 0x99, 0x99, 0x10]),
    ] {
        let line = format!("filter parent 1: prio 1 {filter} classid 1:10");
        let line = line.replace("prio 1 protocol ip ", "protocol ip prio 1 ");
        assert_eq!(classes(&[&line], &packets), expected, "{filter}");
    }
}

#[test]
fn prio_decides_and_the_packets_own_class_comes_first() {
    let filters = [
        "filter parent 1: prio 20 matchall classid 1:20",
        "filter parent 1: prio 10 flower ip_proto tcp classid 1:10",
    ];
    let mut own = v4_tcp(80);
    own.priority = 0x1_0020;
    let mut direct = v4_tcp(80);
    direct.priority = 0x1_0000;
    assert_eq!(
        classes(&filters, &[v4_tcp(80), v6_udp(80), own, direct]),
        [0x10, 0x20, 0x20, 0]
    );
}

#[test]
fn a_filter_may_choose_an_inner_class_whose_filters_go_on() {
    let filters = [
        "filter parent 1: prio 1 matchall classid 1:1",
        "filter parent 1:1 prio 1 flower ip_proto tcp classid 1:10",
        "filter parent 1:1 prio 2 flower ip_proto udp dst_port 53 classid 1:1",
    ];
    // The last one leads round: the default in the end.
    assert_eq!(classes(&filters, &[v4_tcp(80), v6_udp(80), v6_udp(53)]), [0x10, 0x99, 0x99]);
}

#[test]
fn marks_may_name_classes() {
    let mut minor = v4_tcp(80);
    minor.mark = 0x20;
    let mut whole = v6_udp(80);
    whole.mark = 0x1_0010;
    let mut other = v6_udp(80);
    other.mark = 0x2_0010;
    assert_eq!(
        classes(&["filter parent 1: prio 1 fw"], &[minor, whole, other, v4_tcp(80)]),
        [0x20, 0x10, 0x99, 0x99]
    );
}

#[test]
fn prio_and_sfq_ask_filters_too() {
    let prio = tree(&[
        "qdisc root handle 1: prio",
        "filter parent 1: flower ip_proto tcp classid 1:3",
        "qdisc parent 1:3 handle 3: sfq",
        "filter parent 3: matchall classid 3:7",
    ]);
    let path: Vec<String> = prio.class_of(&v4_tcp(80)).iter().map(ToString::to_string).collect();
    assert_eq!(path, ["1:", "1:3", "3:"]);
}

#[test]
fn filters_that_make_no_sense_are_refused() {
    for (filter, said) in [
        ("filter parent 2: matchall classid 1:10", "asks no filters"),
        ("filter parent 1:10 matchall classid 1:20", "asks no filters"),
        ("filter parent 1: matchall classid 1:77", "does not exist"),
        ("filter parent 1: matchall classid 2:10", "does not exist"),
    ] {
        let mut lines = CLASSES.to_vec();
        lines.push(filter);
        let error = tree(&CLASSES).apply(&items(&lines), 0).expect_err(filter).to_string();
        assert!(error.contains(said), "{error}");
    }
}
