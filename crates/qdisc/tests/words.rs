//! tc's words in, values out, and back; and what is said about words that are wrong.

use std::time::Duration;

use fielato_qdisc::spec::{
    Cake, CakeDiffserv, CakeFlowMode, Codel, Distribution, Filter, FilterKind, FilterProtocol, Flower, FqCodel, HostFairness,
    HtbClass, LinkLayer, Loss, Netem, Prio, Sfq, Slot, SlotWait, Stab, Table, Tbf, U32Field, U32Key,
};
use fielato_qdisc::{Class, Handle, Parent, Qdisc, QdiscKind, class, filter, qdisc, qdisc_with_tables};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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

/// Wrong words, the word that must be blamed (empty: the end), and what must be said.
#[test]
fn errors_point_at_the_word_and_say_what_would_be_right() {
    for (words, blamed, said) in [
        ("", "", "one of htb, prio, tbf"),
        ("root", "", "one of htb, prio, tbf"),
        ("netem delay 1ms", "netem", "`root` or `parent CLASSID`"),
        ("root nettem delay 1ms", "nettem", "did you mean `netem`?"),
        (
            "root hfsc",
            "hfsc",
            "htb, prio, tbf, sfq, netem, fq_codel, codel, cake, pfifo, bfifo",
        ),
        ("tc qdisc add dev wg0 root netem", "tc", "what follows `tc qdisc add dev DEV`"),
        ("root dev wg0 netem", "dev", "what follows `tc qdisc add dev DEV`"),
        ("root root netem", "root", "sets what was set before"),
        ("root handle 1:5 htb", "handle", "no minor number"),
        ("root handle 0: htb", "0:", "MAJOR:MINOR"),
        ("root classid 1:1 htb", "classid", "`handle MAJOR:`"),
        ("root netem delay", "delay", "wants a time"),
        ("root netem delay 5 apples", "apples", "an option of netem"),
        ("root netem dleay 5ms", "dleay", "did you mean `delay`?"),
        ("root netem delay 5m", "5m", "a time such as 20ms"),
        ("root netem delay 5ms 25%", "25%", "a time such as 20ms"),
        ("root netem loss 120%", "120%", "0% to 100%"),
        ("root netem loss gemodel", "gemodel", "wants a percentage"),
        ("root netem loss state 1% 200%", "200%", "0% to 100%"),
        (
            "root netem delay 1ms distribution normal",
            "distribution",
            "needs a delay and its jitter",
        ),
        (
            "root netem delay 5ms 1ms distribution norml",
            "norml",
            "did you mean `normal`?",
        ),
        ("root netem delay 5ms 1ms distribution", "distribution", "wants its name"),
        ("root netem delay 5ms ecn", "ecn", "needs `loss`"),
        ("root netem loss 0% ecn", "ecn", "needs `loss`"),
        ("root netem rate 1mbit 14 8x", "8x", "a whole number"),
        ("root netem slot 5ms 1ms", "1ms", "below its shortest"),
        ("root netem slot packets 5", "packets", "a time such as 800us"),
        ("root netem slot distribution normal 5ms 0", "0", "a time such as 800us"),
        ("root netem seed -1", "-1", "in decimal"),
        ("root fq_codel hosts both", "both", "src, dst or none"),
        ("root codel flows 5", "flows", "an option of codel"),
        ("root netem reorder 25%", "netem", "needs a `delay`"),
        ("root netem delay 1ms gap 5", "netem", "needs `reorder`"),
        ("root netem delay 1ms delay 2ms", "delay", "sets what was set before"),
        ("root tbf rate 1mbit latency 1ms", "tbf", "needs `rate` and `burst`"),
        ("root tbf rate 1mbit burst 10k", "tbf", "needs `latency` or `limit`"),
        ("root tbf rate 1mbit burst 10k latency 1ms limit 10k", "latency", "not both"),
        ("root tbf rate 1mbit burst 10k limit 10k peakrate 2mbit", "tbf", "needs `mtu`"),
        (
            "root tbf rate 1mbit burst 10k limit 10k peakrate 1mbit mtu 1500",
            "tbf",
            "above its `rate`",
        ),
        ("root tbf rate 100gbit burst 10k latency 1s", "latency", "4 GB"),
        ("root tbf rate 10mb burst 10k latency 1s", "10mb", "a rate such as 10mbit"),
        ("root htb default 12345", "12345", "hexadecimal"),
        ("root htb direct_qlen 5", "direct_qlen", "default, r2q"),
        ("root fq_codel flows 0", "0", "1 to 65536"),
        ("root cake bandwith 1mbit", "bandwith", "did you mean `bandwidth`?"),
        ("root cake nat nonat", "nonat", "sets what was set before"),
        ("root cake overhead 300", "300", "-64 to 256"),
        ("root pfifo limit 10k", "10k", "a whole number"),
    ] {
        expect(qdisc(words).map(|_| ()), words, blamed, said);
    }
    for (words, blamed, said) in [
        ("parent 1: classid 1:10", "", "`htb`"),
        ("root classid 1:10 htb rate 1mbit", "root", "`parent 1:`"),
        ("classid 1:10 htb rate 1mbit", "htb", "`parent HANDLE`"),
        ("parent 1: htb rate 1mbit", "htb", "`classid MAJOR:MINOR`"),
        ("parent 1: classid 1: htb rate 1mbit", "1:", "minor number"),
        ("parent 1: classid 2:10 htb rate 1mbit", "2:10", "1:10"),
        ("parent 1:10 classid 1:10 htb rate 1mbit", "1:10", "its own parent"),
        ("parent 1: classid 1:10 hfsc rate 1mbit", "hfsc", "htb"),
        ("parent 1: classid 1:10 htb", "htb", "needs a rate"),
        ("parent 1: classid 1:10 htb rate 0", "0", "a rate such as"),
        ("parent 1: classid 1:10 htb rate 1mbit prio 9", "9", "0 to 7"),
    ] {
        expect(class(words).map(|_| ()), words, blamed, said);
    }
}

fn expect(result: Result<(), fielato_qdisc::ParseError>, words: &str, blamed: &str, said: &str) {
    let error = result.expect_err(words);
    let at = &words[error.offset..];
    assert_eq!(at.split(' ').next(), Some(blamed), "{words}: {error}");
    assert!(error.message.contains(said), "{words}: {error}");
}

/// A small generator of numbers, so that every run tries the same values.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn rate(&mut self) -> u64 {
        1 + self.below(10_u64.pow(1 + (self.0 >> 40) as u32 % 9))
    }

    fn size(&mut self) -> u32 {
        1 + self.below(1 << 31) as u32
    }

    fn micros(&mut self) -> Duration {
        Duration::from_micros(1 + self.below(4_000_000))
    }

    fn percent(&mut self) -> f64 {
        self.below(100_001) as f64 / 1000.0
    }

    fn stab(&mut self) -> Stab {
        Stab {
            overhead: self.maybe(|n| n.below(3001) as i32 - 1500),
            mpu: self.maybe(|n| n.below(65_536) as u32),
            mtu: self.maybe(|n| n.below(65_536) as u32),
            tsize: self.maybe(|n| n.below(65_536) as u32),
            linklayer: [LinkLayer::Ethernet, LinkLayer::Atm, LinkLayer::Wireguard][self.below(3) as usize],
        }
    }

    fn prio(&mut self) -> Prio {
        let bands = 2 + self.below(15) as u8;
        let mut priomap = [0; 16];
        for band in &mut priomap {
            *band = self.below(u64::from(bands)) as u8;
        }
        Prio { bands, priomap }
    }

    fn sfq(&mut self) -> Sfq {
        Sfq {
            limit: self.maybe(Self::size),
            depth: self.maybe(|n| 1 + n.below(127) as u32),
            flows: self.maybe(|n| 1 + n.below(65_408) as u32),
            divisor: self.maybe(|n| 1 << n.below(17)),
            quantum: self.maybe(Self::size),
            perturb: self.maybe(|n| Duration::from_secs(1 + n.below(1000))),
            headdrop: self.below(2) == 0,
        }
    }

    fn net(&mut self) -> IpNet {
        let net = match self.below(2) {
            0 => IpNet::V4(Ipv4Net::new((self.below(1 << 32) as u32).into(), self.below(33) as u8).unwrap()),
            _ => {
                let address = u128::from(self.below(u64::MAX)) << 64 | u128::from(self.below(u64::MAX));
                IpNet::V6(Ipv6Net::new(address.into(), self.below(129) as u8).unwrap())
            }
        };
        net.trunc()
    }

    fn ports(&mut self) -> (u16, u16) {
        let first = self.below(65_536);
        (first as u16, (first + self.below(65_536 - first)) as u16)
    }

    fn filter(&mut self) -> Filter {
        let masked = |n: &mut Self| {
            let mask = n.below(1 << 32) as u32;
            (n.below(1 << 32) as u32 & mask, mask)
        };
        let kind = match self.below(4) {
            0 => {
                let key = |n: &mut Self| {
                    let (value, mask) = masked(n);
                    let offset = n.below(64) as i32 * 4;
                    let field = match n.below(3) {
                        0 => U32Field::At(offset),
                        1 => U32Field::Nexthdr(offset),
                        _ => U32Field::Mark,
                    };
                    U32Key { field, value, mask }
                };
                FilterKind::U32((0..=self.below(3)).map(|_| key(self)).collect())
            }
            1 => FilterKind::Fw(self.maybe(masked)),
            2 => FilterKind::Matchall,
            _ => {
                let ip_proto = self.maybe(|n| [6, 17, 132, 1, 58][n.below(5) as usize]);
                let has_ports = matches!(ip_proto, Some(6 | 17 | 132));
                FilterKind::Flower(Flower {
                    src_ip: self.maybe(Self::net),
                    dst_ip: self.maybe(Self::net),
                    ip_proto,
                    src_port: self.maybe(Self::ports).filter(|_| has_ports),
                    dst_port: self.maybe(Self::ports).filter(|_| has_ports),
                    ip_tos: self.maybe(|n| {
                        let mask = n.below(256) as u8;
                        (n.below(256) as u8 & mask, mask)
                    }),
                })
            }
        };
        let classid = match kind {
            FilterKind::Fw(None) => self.maybe(Self::handle),
            _ => Some(self.handle()),
        };
        Filter {
            parent: self.handle(),
            protocol: FilterProtocol::WORDS[self.below(3) as usize].1,
            prio: self.maybe(|n| 1 + n.below(65_535) as u16),
            kind,
            classid,
        }
    }

    fn handle(&mut self) -> Handle {
        Handle {
            major: 1 + self.below(0xfffe) as u16,
            minor: 1 + self.below(0xffff) as u16,
        }
    }

    fn distribution(&mut self) -> Distribution {
        Distribution::WORDS[self.below(4) as usize].1.clone()
    }

    fn loss(&mut self) -> Loss {
        match self.below(3) {
            0 => Loss::Random {
                percent: self.percent(),
                correlation: self.percent(),
            },
            1 => Loss::State {
                p13: self.percent(),
                p31: self.percent(),
                p32: self.percent(),
                p23: self.percent(),
                p14: self.percent(),
            },
            _ => Loss::Gilbert {
                p: self.percent(),
                r: self.percent(),
                bad: self.percent(),
                good: self.percent(),
            },
        }
    }

    fn slot(&mut self) -> Slot {
        let least = Duration::from_nanos(self.below(1 << 40));
        let jitter = Duration::from_nanos(1 + self.below(1 << 30));
        let wait = match self.below(2) {
            0 => SlotWait::Between(least, least + jitter),
            _ => SlotWait::Spread {
                distribution: self.distribution(),
                delay: least,
                jitter,
            },
        };
        Slot {
            wait,
            packets: self.below(100) as u32,
            bytes: self.below(1 << 31) as u32,
        }
    }

    fn kind(&mut self) -> QdiscKind {
        match self.below(10) {
            9 => QdiscKind::Codel(Codel {
                limit: self.maybe(Self::size),
                target: self.maybe(Self::micros),
                interval: self.maybe(Self::micros),
                ecn: self.maybe(|n| n.below(2) == 0),
                ce_threshold: self.maybe(Self::micros),
            }),
            7 => QdiscKind::Prio(self.prio()),
            8 => QdiscKind::Sfq(self.sfq()),
            0 => QdiscKind::Pfifo {
                limit: self.maybe(Self::size),
            },
            1 => QdiscKind::Bfifo {
                limit: self.maybe(Self::size),
            },
            2 => {
                let rate = self.rate();
                let peak = self.maybe(|n| (rate + n.rate(), n.size()));
                QdiscKind::Tbf(Tbf {
                    rate,
                    burst: self.size(),
                    limit: self.size(),
                    peakrate: peak.map(|(peakrate, _)| peakrate),
                    mtu: peak.map(|(_, mtu)| mtu),
                })
            }
            3 => QdiscKind::Htb {
                default: self.below(0x10000) as u16,
                r2q: self.size(),
            },
            4 => {
                let mut netem = Netem {
                    limit: self.maybe(Self::size),
                    delay: Duration::from_nanos(1 + self.below(2_000_000_000)),
                    loss: self.loss(),
                    duplicate: self.percent(),
                    duplicate_correlation: self.percent(),
                    corrupt: self.percent(),
                    corrupt_correlation: self.percent(),
                    slot: self.maybe(Self::slot),
                    seed: self.maybe(|n| n.below(1 << 31)),
                    ..Netem::default()
                };
                netem.ecn = !matches!(netem.loss, Loss::Random { percent: 0.0, .. }) && self.below(2) == 0;
                if let Some(rate) = self.maybe(Self::rate) {
                    netem.rate = rate;
                    netem.packet_overhead = self.below(100) as i32 - 50;
                    netem.cell_size = self.below(3) as u32 * 24;
                    netem.cell_overhead = self.below(3) as i32 - 1;
                }
                if let Some(jitter) = self.maybe(Self::micros) {
                    netem.jitter = jitter;
                    netem.distribution = self.distribution();
                    netem.delay_correlation = self.maybe(Self::percent).unwrap_or(0.0);
                }
                if let Some(gap) = self.maybe(|n| 1 + n.below(9) as u32) {
                    netem.gap = gap;
                    netem.reorder = 0.5 + self.percent() / 2.0;
                    netem.reorder_correlation = self.percent();
                }
                QdiscKind::Netem(Box::new(netem))
            }
            5 => QdiscKind::FqCodel(FqCodel {
                limit: self.maybe(Self::size),
                flows: self.maybe(|n| 1 + n.below(65_536) as u32),
                target: self.maybe(Self::micros),
                interval: self.maybe(Self::micros),
                quantum: self.maybe(Self::size),
                ecn: self.maybe(|n| n.below(2) == 0),
                ce_threshold: self.maybe(Self::micros),
                memory_limit: self.maybe(Self::size),
                hosts: self.maybe(|n| HostFairness::WORDS[n.below(3) as usize].1),
            }),
            _ => QdiscKind::Cake(Cake {
                bandwidth: self.maybe(Self::rate),
                rtt: self.maybe(Self::micros),
                overhead: self.maybe(|n| n.below(321) as i32 - 64),
                mpu: self.maybe(|n| n.below(257) as u32),
                memory_limit: self.maybe(Self::size),
                diffserv: self.maybe(|n| CakeDiffserv::WORDS[n.below(5) as usize].1),
                flow_mode: self.maybe(|n| CakeFlowMode::WORDS[n.below(8) as usize].1),
                nat: self.maybe(|n| n.below(2) == 0),
                ack_filter: self.maybe(|n| n.below(2) == 0),
            }),
        }
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let mut numbers = Numbers(1);
    for _ in 0..20_000 {
        let original = Qdisc {
            parent: numbers.maybe(Numbers::handle).map_or(Parent::Root, Parent::Class),
            handle: numbers.maybe(|n| Handle { minor: 0, ..n.handle() }),
            stab: numbers.maybe(Numbers::stab),
            kind: numbers.kind(),
        };
        assert_eq!(qdisc(&original.to_string()).as_ref(), Ok(&original), "{original}");

        let classid = numbers.handle();
        let minor = numbers.below(u64::from(classid.minor)) as u16;
        let original = Class {
            parent: Handle { minor, ..classid },
            classid,
            htb: HtbClass {
                rate: numbers.rate(),
                ceil: numbers.rate(),
                burst: numbers.maybe(Numbers::size),
                cburst: numbers.maybe(Numbers::size),
                prio: numbers.below(8) as u32,
                quantum: numbers.maybe(Numbers::size),
            },
        };
        assert_eq!(class(&original.to_string()).as_ref(), Ok(&original), "{original}");

        let original = numbers.filter();
        assert_eq!(filter(&original.to_string()).as_ref(), Ok(&original), "{original}");
    }
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
    for (words, blamed, said) in [
        ("root prio bands 17", "17", "2 to 16"),
        ("root prio bands 2", "prio", "give `priomap`"),
        ("root prio priomap", "priomap", "wants a band"),
        ("root sfq divisor 1000", "1000", "power of two"),
        ("root sfq redflowlimit 100", "redflowlimit", "fq_codel"),
        ("root stab htb", "stab", "wants one of"),
        ("root stab linklayer adls htb", "adls", "did you mean `adsl`?"),
    ] {
        expect(qdisc(words).map(|_| ()), words, blamed, said);
    }
}

/// Whatever is typed, it is read or refused at a place within it; nothing panics.
#[test]
fn any_words_are_read_or_refused() {
    const WORDS: [&str; 60] = [
        "tc",
        "-s",
        "-j",
        "qdisc",
        "class",
        "filter",
        "add",
        "del",
        "show",
        "dev",
        "wg0",
        "root",
        "parent",
        "handle",
        "classid",
        "1:",
        "1:1",
        "ffff:",
        "0",
        "5",
        "0x10",
        "99999999999",
        "-1",
        "10mbit",
        "1.5ms",
        "25%",
        "htb",
        "rate",
        "ceil",
        "tbf",
        "burst",
        "limit",
        "netem",
        "delay",
        "loss",
        "state",
        "reorder",
        "prio",
        "bands",
        "priomap",
        "sfq",
        "divisor",
        "stab",
        "overhead",
        "linklayer",
        "atm",
        "u32",
        "match",
        "ip",
        "ip6",
        "src",
        "10.0.0.0/8",
        "::1",
        "at",
        "nexthdr+3",
        "fw",
        "flower",
        "dst_port",
        "\u{fc}ber",
        "\t\u{a0}",
    ];
    let mut numbers = Numbers(3);
    for _ in 0..60_000 {
        let mut text = String::new();
        for _ in 0..numbers.below(14) {
            text.push_str(WORDS[numbers.below(60) as usize]);
            text.push_str([" ", "  ", "\n"][numbers.below(3) as usize]);
        }
        let results = [
            fielato_qdisc::tc::Command::parse(&text).err(),
            qdisc(&text).err(),
            class(&text).err(),
            filter(&text).err(),
        ];
        for error in results.into_iter().flatten() {
            assert!(text.is_char_boundary(error.offset), "{text:?}: {error}");
            assert!(!error.message.is_empty());
        }
    }
}
