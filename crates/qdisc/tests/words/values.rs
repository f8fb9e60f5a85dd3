//! Values of every kind, which survive being printed and being serialized.

use std::time::Duration;

use fielato_qdisc::spec::{
    Cake, CakeDiffserv, CakeFlowMode, Codel, Distribution, Filter, FilterKind, FilterProtocol, Flower, FqCodel, HostFairness,
    HtbClass, LinkLayer, Loss, Netem, Prio, Sfq, Slot, SlotWait, Stab, Tbf, U32Field, U32Key,
};
use fielato_qdisc::{Class, Handle, Item, Packet, Parent, Qdisc, QdiscKind, Settings, Tree};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A small generator of numbers, so that every run tries the same values.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: u64) -> u64 {
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

    fn items(&mut self) -> [Item; 3] {
        let qdisc = Qdisc {
            parent: self.maybe(Numbers::handle).map_or(Parent::Root, Parent::Class),
            handle: self.maybe(|n| Handle { minor: 0, ..n.handle() }),
            stab: self.maybe(Numbers::stab),
            kind: self.kind(),
        };
        let classid = self.handle();
        let minor = self.below(u64::from(classid.minor)) as u16;
        let class = Class {
            parent: Handle { minor, ..classid },
            classid,
            htb: HtbClass {
                rate: self.rate(),
                ceil: self.rate(),
                burst: self.maybe(Numbers::size),
                cburst: self.maybe(Numbers::size),
                prio: self.below(8) as u32,
                quantum: self.maybe(Numbers::size),
            },
        };
        [Item::Qdisc(qdisc), Item::Class(class), Item::Filter(self.filter())]
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let mut numbers = Numbers(1);
    for original in (0..20_000).flat_map(|_| numbers.items()) {
        assert_eq!(original.to_string().parse().as_ref(), Ok(&original), "{original}");
    }
}

#[test]
fn what_is_serialized_reads_back_as_the_same() {
    let mut numbers = Numbers(2);
    for original in (0..5_000).flat_map(|_| numbers.items()) {
        let json = serde_json::to_string(&original).unwrap();
        assert_eq!(serde_json::from_str::<Item>(&json).unwrap(), original, "{original}");
    }
}

struct Bytes(Vec<u8>);

impl Packet for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn segment_size(&self) -> u16 {
        0
    }

    fn split(self, each: &mut dyn FnMut(Self)) {
        each(self);
    }

    fn duplicate(&self) -> Self {
        Bytes(self.0.clone())
    }

    fn priority(&self) -> u32 {
        0x1_0010
    }

    fn mark(&self) -> u32 {
        0
    }
}

/// Numbers that no words would have given are not read back, or a tree can live with them.
#[test]
fn damaged_values_do_no_harm() {
    let mut numbers = Numbers(4);
    let (mut read, mut applied) = (0, 0);
    for _ in 0..3_000 {
        let [mut qdisc, ..] = numbers.items();
        if let Item::Qdisc(qdisc) = &mut qdisc {
            qdisc.parent = Parent::Root;
        }
        let mut json = serde_json::to_value(&qdisc).unwrap();
        numbers.damage(&mut json);
        let Ok(item) = serde_json::from_value::<Item>(json) else {
            continue;
        };
        read += 1;
        let mut tree = Tree::new(Settings::default());
        if tree.apply(&[item], 0).is_ok() {
            applied += 1;
            for now in 0..20 {
                tree.enqueue(Bytes(vec![0x45; 1000]), now * 1_000_000, &mut |_, _| {});
                tree.dequeue(now * 1_000_000, &mut |_, _| {});
            }
        }
    }
    assert!(
        100 < applied && applied <= read && read < 2_900,
        "{applied} applied of {read} read"
    );
}

impl Numbers {
    fn damage(&mut self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(number) if self.below(3) == 0 => {
                *number = [0, 1, 17, 255, 65_535, u64::from(u32::MAX), u64::MAX][self.below(7) as usize].into();
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| self.damage(value)),
            serde_json::Value::Object(values) => values.values_mut().for_each(|value| self.damage(value)),
            _ => {}
        }
    }
}
