//! The words of filters.

use fielato_qdisc::filter;
use fielato_qdisc::spec::{Filter, FilterKind, U32Field};

use crate::errors::expect;

/// The keys are those that tc itself made of these words.
#[test]
fn u32_keys_stand_where_tc_puts_them() {
    let keys = |words: &str| match filter(&format!("parent 1: protocol ip prio 1 u32 {words} flowid 1:1")) {
        Ok(Filter {
            kind: FilterKind::U32(keys),
            ..
        }) => keys.iter().map(|key| (key.value, key.mask, key.field)).collect::<Vec<_>>(),
        other => panic!("{words}: {other:?}"),
    };
    assert_eq!(
        keys("match u8 10 10 at 9 match ip sport 80 ffff match ip dsfield 10 fc"),
        [
            (0, 0x10_0000, U32Field::At(8)),
            (0x50_0000, 0xffff_0000, U32Field::At(20)),
            (0x8_0000, 0xfc_0000, U32Field::At(0)),
        ]
    );
    assert_eq!(
        keys("match ip src 10.1.2.3/8 match ip dport 443 0xffff match ip protocol 6 0xff"),
        [
            (0x0a00_0000, 0xff00_0000, U32Field::At(12)),
            (443, 0xffff, U32Field::At(20)),
            (0x6_0000, 0xff_0000, U32Field::At(8)),
        ]
    );
    assert_eq!(
        keys("match ip6 dst fd00:1::/40"),
        [
            (0xfd00_0001, 0xffff_ffff, U32Field::At(24)),
            (0, 0xff00_0000, U32Field::At(28)),
        ]
    );
    assert_eq!(keys("match ip6 src ::/0"), [(0, 0, U32Field::At(8))]);
    assert_eq!(
        keys("match u16 0x50 0xffff at nexthdr+2"),
        [(0x50, 0xffff, U32Field::Nexthdr(0))]
    );
}

#[test]
fn filters_point_at_the_word_and_say_what_would_be_right() {
    for (words, blamed, said) in [
        ("", "", "one of u32, fw, matchall, flower"),
        ("u32 match u32 0 0 flowid 1:1", "u32", "`parent HANDLE`"),
        ("parent 1: bpf flowid 1:1", "bpf", "u32, fw, matchall, flower"),
        ("parent 1: protocol arp u32", "arp", "all, ip, ipv6"),
        ("parent 1: prio 0 matchall classid 1:1", "0", "1 to 65535"),
        ("parent 1: u32 flowid 1:1", "u32", "needs a match"),
        ("parent 1: u32 match u32 0 0", "u32", "needs `classid"),
        ("parent 1: u32 match ip dts 1.2.3.4 flowid 1:1", "dts", "did you mean `dst`?"),
        ("parent 1: u32 match ip dst fd00::1 flowid 1:1", "fd00::1", "wants an IPv4"),
        ("parent 1: u32 match ip6 dst 1.2.3.4 flowid 1:1", "1.2.3.4", "wants an IPv6"),
        ("parent 1: u32 match u8 256 ff flowid 1:1", "256", "does not fit"),
        ("parent 1: u32 match u16 1 ff at 3 flowid 1:1", "3", "multiple of 2"),
        ("parent 1: u32 ht 800: match u32 0 0 flowid 1:1", "ht", "hash tables"),
        ("parent 1: handle 5 matchall classid 1:1", "handle", "is for `fw`"),
        ("parent 1: matchall classid 1:1 action drop", "action", "only chooses a class"),
        ("parent 1: flower dst_port 80 classid 1:1", "dst_port", "ip_proto"),
        (
            "parent 1: flower ip_proto tcp dst_port 9-8 classid 1:1",
            "9-8",
            "a port or a range",
        ),
    ] {
        expect(filter(words).map(|_| ()), words, blamed, said);
    }
}
