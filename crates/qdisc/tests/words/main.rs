//! tc's words in, values out, and back; and what is said about words that are wrong.

mod errors;
mod filters;
mod values;

use std::time::Duration;

use fielato_qdisc::spec::{
    Cake, CakeDiffserv, CakeFlowMode, Distribution, FqCodel, HtbClass, LinkLayer, Loss, Netem, Prio, Sfq, Slot, SlotWait, Stab,
    Table, Tbf,
};
use fielato_qdisc::{Class, Handle, Parent, Qdisc, QdiscKind, class, qdisc, qdisc_with_tables};

fn kind(words: &str) -> QdiscKind {
    qdisc(words).unwrap_or_else(|error| panic!("{words}: {error}")).kind
}

#[test]
fn the_talks_delay() {
    let expected = Qdisc {
        parent: Parent::Root,
        handle: None,
        stab: None,
        kind: QdiscKind::Netem(Box::new(Netem {
            delay: Duration::from_millis(500),
            ..Netem::default()
        })),
    };
    assert_eq!(qdisc("root netem delay 500ms"), Ok(expected));
}

#[test]
fn htb_numbers_are_hexadecimal() {
    let expected = Qdisc {
        parent: Parent::Root,
        handle: Some(Handle { major: 1, minor: 0 }),
        stab: None,
        kind: QdiscKind::Htb { default: 0x30, r2q: 10 },
    };
    assert_eq!(qdisc("root handle 1: htb default 30"), Ok(expected.clone()));
    assert_eq!(qdisc("root handle 1: htb default 0x30"), Ok(expected));

    let expected = Class {
        parent: Handle { major: 1, minor: 0 },
        classid: Handle { major: 1, minor: 0x10 },
        htb: HtbClass {
            rate: 1_250_000,
            ceil: 2_500_000,
            burst: Some(15_360),
            cburst: None,
            prio: 1,
            quantum: None,
        },
    };
    assert_eq!(
        class("parent 1: classid 1:10 htb rate 10mbit ceil 20mbit burst 15k prio 1"),
        Ok(expected)
    );
    assert_eq!(
        class("parent 1: classid 1:10 htb rate 10mbit").unwrap().htb.ceil,
        1_250_000,
        "ceil is the rate unless set"
    );
}

#[test]
fn tbf_latency_becomes_a_limit() {
    let expected = Tbf {
        rate: 125_000,
        burst: 4096,
        limit: 54_096,
        peakrate: None,
        mtu: None,
    };
    assert_eq!(
        kind("root tbf rate 1mbit burst 32kbit latency 400ms"),
        QdiscKind::Tbf(expected.clone())
    );
    assert_eq!(kind("root tbf rate 1mbit burst 32kbit limit 54096"), QdiscKind::Tbf(expected));
    // The peak bucket fills slower here: it bounds what may wait.
    let QdiscKind::Tbf(tbf) = kind("root tbf rate 1mbit burst 100k latency 100ms peakrate 2mbit mtu 1540") else {
        panic!("not tbf");
    };
    assert_eq!((tbf.limit, tbf.peakrate, tbf.mtu), (26_540, Some(250_000), Some(1540)));
}

#[test]
fn netem_with_everything() {
    let expected = Netem {
        limit: Some(2000),
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(10),
        delay_correlation: 25.0,
        distribution: Distribution::Normal,
        loss: Loss::Random {
            percent: 1.0,
            correlation: 25.0,
        },
        ecn: true,
        duplicate: 2.0,
        duplicate_correlation: 3.0,
        corrupt: 0.1,
        corrupt_correlation: 0.0,
        reorder: 25.0,
        reorder_correlation: 50.0,
        gap: 5,
        rate: 125_000,
        packet_overhead: -14,
        cell_size: 48,
        cell_overhead: 5,
        slot: Some(Slot {
            wait: SlotWait::Between(Duration::from_micros(800), Duration::from_millis(1)),
            packets: 20,
            bytes: 32_768,
        }),
        seed: Some(u64::MAX),
    };
    let words = "root netem limit 2000 delay 100ms 10ms 25% distribution normal loss random 1% 25% ecn duplicate 2% 3% \
                 corrupt 0.1% reorder 25% 50% gap 5 rate 1mbit -14 48 5 slot 800us 1ms packets 20 bytes 32k \
                 seed 18446744073709551615";
    assert_eq!(kind(words), QdiscKind::Netem(Box::new(expected)));
    let QdiscKind::Netem(netem) = kind("root netem delay 10ms reorder 25%") else {
        panic!("not netem")
    };
    assert_eq!(netem.gap, 1);
}

fn netem(words: &str) -> Netem {
    match kind(&format!("root netem {words}")) {
        QdiscKind::Netem(netem) => *netem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn models_of_loss_have_tcs_defaults() {
    let state = |p13, p31, p32, p23, p14| Loss::State { p13, p31, p32, p23, p14 };
    let gilbert = |p, r, bad, good| Loss::Gilbert { p, r, bad, good };
    for (words, expected) in [
        (
            "loss 5%",
            Loss::Random {
                percent: 5.0,
                correlation: 0.0,
            },
        ),
        (
            "drop random 5% 10%",
            Loss::Random {
                percent: 5.0,
                correlation: 10.0,
            },
        ),
        ("loss state 1%", state(1.0, 99.0, 0.0, 100.0, 0.0)),
        ("loss state 1% 20%", state(1.0, 20.0, 0.0, 100.0, 0.0)),
        ("loss state 1% 20% 3% 40%", state(1.0, 20.0, 3.0, 40.0, 0.0)),
        ("loss state 1% 20% 3% 40% 0.5%", state(1.0, 20.0, 3.0, 40.0, 0.5)),
        ("loss gemodel 1%", gilbert(1.0, 99.0, 100.0, 0.0)),
        ("loss gemodel 1% 10%", gilbert(1.0, 10.0, 100.0, 0.0)),
        ("loss gemodel 1% 10% 70% 0.1% ecn", gilbert(1.0, 10.0, 70.0, 0.1)),
    ] {
        assert_eq!(netem(words).loss, expected, "{words}");
    }
}

#[test]
fn slots_and_distributions() {
    let slot = |words: &str| netem(words).slot.unwrap();
    let micros = Duration::from_micros;
    assert_eq!(slot("slot 800us").wait, SlotWait::Between(micros(800), micros(800)));
    assert_eq!(
        slot("slot 1500").wait,
        SlotWait::Between(Duration::from_nanos(1500), Duration::from_nanos(1500))
    );
    let spread = SlotWait::Spread {
        distribution: Distribution::Pareto,
        delay: micros(20_000),
        jitter: micros(10),
    };
    let wanted = Slot {
        wait: spread,
        packets: 0,
        bytes: 1500,
    };
    assert_eq!(slot("slot distribution pareto 20ms 10us bytes 1500"), wanted);
    let custom = qdisc_with_tables("root netem delay 10ms 1ms distribution mine", &mut |name| {
        assert_eq!(name, "mine");
        Ok("-8192 0 8192".to_owned())
    });
    let QdiscKind::Netem(custom) = custom.unwrap().kind else {
        panic!("not netem");
    };
    let table = Table::parse("-8192 0 8192").unwrap();
    assert_eq!(
        custom.distribution,
        Distribution::Table {
            name: "mine".to_owned(),
            table
        }
    );
    assert_eq!(custom.to_string(), " delay 10ms 1ms distribution mine");
    let error = qdisc_with_tables("root netem delay 10ms 1ms distribution mine", &mut |_| {
        Err("no such file".to_owned())
    })
    .unwrap_err();
    assert_eq!((error.offset, error.message.contains("no such file")), (39, true), "{error}");
}

#[test]
fn fq_codel_cake_and_fifos() {
    let expected = Qdisc {
        parent: Parent::Class(Handle { major: 1, minor: 0x10 }),
        handle: Some(Handle { major: 0x10, minor: 0 }),
        stab: None,
        kind: QdiscKind::FqCodel(FqCodel {
            limit: Some(1000),
            target: Some(Duration::from_millis(5)),
            ecn: Some(false),
            ..FqCodel::default()
        }),
    };
    assert_eq!(
        qdisc("parent 1:10 handle 10: fq_codel limit 1000 target 5ms noecn"),
        Ok(expected)
    );
    let expected = Cake {
        bandwidth: Some(12_500_000),
        rtt: Some(Duration::from_millis(50)),
        flow_mode: Some(CakeFlowMode::DualDsthost),
        nat: Some(true),
        ..Cake::default()
    };
    assert_eq!(
        kind("root cake bandwidth 100mbit rtt 50ms dual-dsthost nat"),
        QdiscKind::Cake(expected)
    );
    let expected = Cake {
        rtt: Some(Duration::from_millis(300)),
        diffserv: Some(CakeDiffserv::Besteffort),
        ..Cake::default()
    };
    assert_eq!(kind("root cake unlimited oceanic besteffort"), QdiscKind::Cake(expected));
    assert_eq!(kind("root pfifo limit 100"), QdiscKind::Pfifo { limit: Some(100) });
    assert_eq!(kind("root bfifo limit 10k"), QdiscKind::Bfifo { limit: Some(10_240) });
    assert_eq!(kind("root pfifo"), QdiscKind::Pfifo { limit: None });
}

#[test]
fn prio_sfq_and_stab() {
    assert_eq!(kind("root prio"), QdiscKind::Prio(Prio::default()));
    let QdiscKind::Prio(prio) = kind("root prio bands 4 priomap 3 3 0") else {
        panic!("not prio")
    };
    assert_eq!(
        (prio.bands, &prio.priomap[..4]),
        (4, &[3, 3, 0, 2][..]),
        "what is left out keeps its default"
    );
    let expected = Sfq {
        perturb: Some(Duration::from_secs(10)),
        quantum: Some(1514),
        ..Sfq::default()
    };
    assert_eq!(kind("root sfq perturb 10 quantum 1514"), QdiscKind::Sfq(expected.clone()));
    assert_eq!(kind("root sfq perturb 10sec quantum 1514b"), QdiscKind::Sfq(expected));
    let qdisc = qdisc("root handle 1: stab overhead 48 linklayer wireguard htb default 10").unwrap();
    let expected = Stab {
        overhead: Some(48),
        linklayer: LinkLayer::Wireguard,
        ..Stab::default()
    };
    assert_eq!(qdisc.stab, Some(expected));
    assert_eq!(qdisc.kind.name(), "htb");
}
