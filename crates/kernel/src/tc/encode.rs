//! `TCA_OPTIONS` of each discipline and class, byte for byte as `tc` writes them (linux/pkt_sched.h).

use std::time::Duration;

use fielato_qdisc::QdiscKind;
use fielato_qdisc::spec::{Cake, CakeDiffserv, CakeFlowMode, Codel, FqCodel, HtbClass, LinkLayer, Prio, Sfq, Stab, Tbf};

use super::attributes::{push, push_u32, push_u64};
use super::netem::netem;
use super::psched::Psched;

/// The attributes that carry a kind's parameters; `None` when `tc` would send none.
pub fn qdisc_options(kind: &QdiscKind, psched: &Psched) -> Option<Vec<u8>> {
    Some(match kind {
        QdiscKind::Pfifo { limit } | QdiscKind::Bfifo { limit } => return limit.map(|limit| limit.to_ne_bytes().to_vec()),
        QdiscKind::Htb { default, r2q } => htb(*default, *r2q),
        QdiscKind::Prio(options) => prio(options),
        QdiscKind::Sfq(options) => sfq(options),
        QdiscKind::Tbf(options) => tbf(options, psched),
        QdiscKind::Netem(options) => netem(options, psched),
        QdiscKind::Codel(options) => codel(options),
        QdiscKind::FqCodel(options) => fq_codel(options),
        QdiscKind::Cake(options) => cake(options),
    })
}

/// `TCA_HTB_INIT` with `struct tc_htb_glob`.
fn htb(default: u16, r2q: u32) -> Vec<u8> {
    const TCA_HTB_INIT: u16 = 2;
    /// The kernel compares it with its own (`HTB_VER >> 16`).
    const VERSION: u32 = 3;
    let mut options = Vec::new();
    push(&mut options, TCA_HTB_INIT, &words(&[VERSION, r2q, u32::from(default), 0, 0]));
    options
}

/// `struct tc_htb_opt`, rate tables, and 64-bit rates where 32 bits are too few.
pub fn htb_class_options(class: &HtbClass, psched: &Psched) -> Vec<u8> {
    const TCA_HTB_PARMS: u16 = 1;
    const TCA_HTB_CTAB: u16 = 3;
    const TCA_HTB_RTAB: u16 = 4;
    const TCA_HTB_RATE64: u16 = 6;
    const TCA_HTB_CEIL64: u16 = 7;
    /// tc's assumption about the device (`man 8 tc-htb`).
    const MTU: u32 = 1600;

    let burst = class.burst.unwrap_or_else(|| psched.least_burst(class.rate, MTU));
    let cburst = class.cburst.unwrap_or_else(|| psched.least_burst(class.ceil, MTU));
    let rate = RateTable::new(class.rate, MTU, psched);
    let ceil = RateTable::new(class.ceil, MTU, psched);

    let mut parameters = rate.spec();
    parameters.extend(ceil.spec());
    parameters.extend(words(&[
        psched.transmit_ticks(class.rate, burst),
        psched.transmit_ticks(class.ceil, cburst),
        class.quantum.unwrap_or(0),
        0,
        class.prio,
    ]));

    let mut options = Vec::new();
    push_rate64(&mut options, TCA_HTB_RATE64, class.rate);
    push_rate64(&mut options, TCA_HTB_CEIL64, class.ceil);
    push(&mut options, TCA_HTB_PARMS, &parameters);
    push(&mut options, TCA_HTB_RTAB, &rate.table);
    push(&mut options, TCA_HTB_CTAB, &ceil.table);
    options
}

/// `struct tc_prio_qopt`, then attributes, of which there are none.
fn prio(prio: &Prio) -> Vec<u8> {
    let mut options = words(&[prio.bands.into()]);
    options.extend(prio.priomap);
    push(&mut options, super::message::TCA_OPTIONS, &[]);
    options
}

/// `struct tc_sfq_qopt_v1`; the kernel takes its own default for what is 0.
fn sfq(sfq: &Sfq) -> Vec<u8> {
    let perturb = sfq.perturb.map_or(0, |time| time.as_secs() as u32);
    let given = |value: Option<u32>| value.unwrap_or(0);
    let mut options = words(&[
        given(sfq.quantum),
        perturb,
        given(sfq.limit),
        given(sfq.divisor),
        given(sfq.flows),
        given(sfq.depth),
        u32::from(sfq.headdrop),
    ]);
    // RED's parameters and counts, of which there are none.
    options.resize(72, 0);
    options
}

/// `TCA_STAB`'s content: `struct tc_sizespec`, and a table of lengths where adding is not enough. `None` for a link layer that
/// the kernel doesn't know.
pub fn stab(stab: &Stab) -> Option<Vec<u8>> {
    const TCA_STAB_BASE: u16 = 1;
    const TCA_STAB_DATA: u16 = 2;
    const DEFAULT_MTU: u32 = 2047;
    const DEFAULT_TSIZE: u32 = 512;
    let linklayer: u32 = match stab.linklayer {
        LinkLayer::Ethernet => 0,
        LinkLayer::Atm => 2,
        LinkLayer::Wireguard => return None,
    };
    let overhead = stab.overhead.unwrap_or(0).cast_unsigned();
    let mpu = stab.mpu.unwrap_or(0);
    let mut content = Vec::new();
    if linklayer == 0 && mpu == 0 {
        let mut base = vec![0; 4];
        base.extend(words(&[overhead, linklayer, mpu, 0, 0]));
        push(&mut content, TCA_STAB_BASE, &base);
        return Some(content);
    }
    let mtu = stab.mtu.filter(|mtu| *mtu != 0).unwrap_or(DEFAULT_MTU);
    let tsize = stab.tsize.filter(|tsize| *tsize != 0).unwrap_or(DEFAULT_TSIZE);
    let mut cell_log = 0_u8;
    while (mtu - 1) >> cell_log > tsize - 1 {
        cell_log += 1;
    }
    let lengths = (1..=tsize).map(|cell| {
        let length = (cell << cell_log).max(mpu);
        if linklayer == 2 { length.div_ceil(48) * 53 } else { length }
    });
    let mut size_log = 0_u8;
    while lengths.clone().any(|length| length >> size_log > u32::from(u16::MAX)) {
        size_log += 1;
    }
    // One cell less, because each entry stands for the end of its cell.
    let mut base = vec![cell_log, size_log];
    base.extend((-1_i16).to_ne_bytes());
    base.extend(words(&[overhead, linklayer, mpu, mtu, tsize]));
    let table: Vec<u8> = lengths
        .flat_map(|length| ((length >> size_log) as u16).to_ne_bytes())
        .collect();
    push(&mut content, TCA_STAB_BASE, &base);
    push(&mut content, TCA_STAB_DATA, &table);
    Some(content)
}

/// `struct tc_tbf_qopt`, rate tables, and the buckets' sizes in bytes.
fn tbf(tbf: &Tbf, psched: &Psched) -> Vec<u8> {
    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_RTAB: u16 = 2;
    const TCA_TBF_PTAB: u16 = 3;
    const TCA_TBF_RATE64: u16 = 4;
    const TCA_TBF_PRATE64: u16 = 5;
    const TCA_TBF_BURST: u16 = 6;
    const TCA_TBF_PBURST: u16 = 7;
    /// The largest packet in tc's rate tables unless `mtu` is given.
    const MTU: u32 = 2047;

    let peak = tbf.peakrate.zip(tbf.mtu);
    let mtu = peak.map_or(MTU, |(_, mtu)| mtu);
    let rate = RateTable::new(tbf.rate, mtu, psched);
    let peak = peak.map(|(peakrate, mtu)| (peakrate, mtu, RateTable::new(peakrate, mtu, psched)));

    let mut parameters = rate.spec();
    parameters.extend(
        peak.as_ref()
            .map_or(vec![0; RateTable::SPEC_LEN], |(_, _, table)| table.spec()),
    );
    parameters.extend(words(&[
        tbf.limit,
        psched.transmit_ticks(tbf.rate, tbf.burst),
        peak.as_ref()
            .map_or(0, |(peakrate, mtu, _)| psched.transmit_ticks(*peakrate, *mtu)),
    ]));

    let mut options = Vec::new();
    push(&mut options, TCA_TBF_PARMS, &parameters);
    push_u32(&mut options, TCA_TBF_BURST, tbf.burst);
    push_rate64(&mut options, TCA_TBF_RATE64, tbf.rate);
    push(&mut options, TCA_TBF_RTAB, &rate.table);
    if let Some((peakrate, mtu, table)) = peak {
        push_rate64(&mut options, TCA_TBF_PRATE64, peakrate);
        push_u32(&mut options, TCA_TBF_PBURST, mtu);
        push(&mut options, TCA_TBF_PTAB, &table.table);
    }
    options
}

fn codel(codel: &Codel) -> Vec<u8> {
    const TCA_CODEL_TARGET: u16 = 1;
    const TCA_CODEL_LIMIT: u16 = 2;
    const TCA_CODEL_INTERVAL: u16 = 3;
    const TCA_CODEL_ECN: u16 = 4;
    const TCA_CODEL_CE_THRESHOLD: u16 = 5;
    numbers(&[
        (TCA_CODEL_LIMIT, codel.limit),
        (TCA_CODEL_INTERVAL, codel.interval.map(microseconds)),
        (TCA_CODEL_TARGET, codel.target.map(microseconds)),
        (TCA_CODEL_ECN, codel.ecn.map(u32::from)),
        (TCA_CODEL_CE_THRESHOLD, codel.ce_threshold.map(microseconds)),
    ])
}

fn fq_codel(fq_codel: &FqCodel) -> Vec<u8> {
    const TCA_FQ_CODEL_TARGET: u16 = 1;
    const TCA_FQ_CODEL_LIMIT: u16 = 2;
    const TCA_FQ_CODEL_INTERVAL: u16 = 3;
    const TCA_FQ_CODEL_ECN: u16 = 4;
    const TCA_FQ_CODEL_FLOWS: u16 = 5;
    const TCA_FQ_CODEL_QUANTUM: u16 = 6;
    const TCA_FQ_CODEL_CE_THRESHOLD: u16 = 7;
    const TCA_FQ_CODEL_MEMORY_LIMIT: u16 = 9;
    numbers(&[
        (TCA_FQ_CODEL_LIMIT, fq_codel.limit),
        (TCA_FQ_CODEL_FLOWS, fq_codel.flows),
        (TCA_FQ_CODEL_QUANTUM, fq_codel.quantum),
        (TCA_FQ_CODEL_INTERVAL, fq_codel.interval.map(microseconds)),
        (TCA_FQ_CODEL_TARGET, fq_codel.target.map(microseconds)),
        (TCA_FQ_CODEL_ECN, fq_codel.ecn.map(u32::from)),
        (TCA_FQ_CODEL_CE_THRESHOLD, fq_codel.ce_threshold.map(microseconds)),
        (TCA_FQ_CODEL_MEMORY_LIMIT, fq_codel.memory_limit),
    ])
}

fn cake(cake: &Cake) -> Vec<u8> {
    const TCA_CAKE_BASE_RATE64: u16 = 2;
    const TCA_CAKE_DIFFSERV_MODE: u16 = 3;
    const TCA_CAKE_FLOW_MODE: u16 = 5;
    const TCA_CAKE_OVERHEAD: u16 = 6;
    const TCA_CAKE_RTT: u16 = 7;
    const TCA_CAKE_TARGET: u16 = 8;
    const TCA_CAKE_MEMORY: u16 = 10;
    const TCA_CAKE_NAT: u16 = 11;
    const TCA_CAKE_MPU: u16 = 14;
    const TCA_CAKE_ACK_FILTER: u16 = 16;

    let diffserv = |mode| match mode {
        CakeDiffserv::Diffserv3 => 0,
        CakeDiffserv::Diffserv4 => 1,
        CakeDiffserv::Diffserv8 => 2,
        CakeDiffserv::Besteffort => 3,
        CakeDiffserv::Precedence => 4,
    };
    let flow_mode = |mode| match mode {
        CakeFlowMode::Flowblind => 0,
        CakeFlowMode::Srchost => 1,
        CakeFlowMode::Dsthost => 2,
        CakeFlowMode::Hosts => 3,
        CakeFlowMode::Flows => 4,
        CakeFlowMode::DualSrchost => 5,
        CakeFlowMode::DualDsthost => 6,
        CakeFlowMode::TripleIsolate => 7,
    };
    let rtt = cake.rtt.map(microseconds);

    let mut options = Vec::new();
    if let Some(bandwidth) = cake.bandwidth {
        push_u64(&mut options, TCA_CAKE_BASE_RATE64, bandwidth);
    }
    options.extend(numbers(&[
        (TCA_CAKE_DIFFSERV_MODE, cake.diffserv.map(diffserv)),
        (TCA_CAKE_FLOW_MODE, cake.flow_mode.map(flow_mode)),
        (TCA_CAKE_OVERHEAD, cake.overhead.map(i32::cast_unsigned)),
        (TCA_CAKE_MPU, cake.mpu),
        (TCA_CAKE_RTT, rtt),
        // As tc does: the acceptable standing delay is a twentieth of the round trip.
        (TCA_CAKE_TARGET, rtt.map(|rtt| (rtt / 20).max(1))),
        (TCA_CAKE_MEMORY, cake.memory_limit),
        (TCA_CAKE_NAT, cake.nat.map(u32::from)),
        (TCA_CAKE_ACK_FILTER, cake.ack_filter.map(u32::from)),
    ]));
    options
}

/// `struct tc_ratespec` and how long packets of 256 sizes take.
struct RateTable {
    rate: u32,
    cell_log: u8,
    table: Vec<u8>,
}

impl RateTable {
    const SPEC_LEN: usize = 12;

    fn new(rate: u64, mtu: u32, psched: &Psched) -> Self {
        // The cells must reach the largest packet.
        let cell_log = (0..24).find(|log| mtu >> log <= 255).unwrap_or(24);
        let table = (1..=256u32)
            .flat_map(|cell| psched.transmit_ticks(rate, cell << cell_log).to_ne_bytes())
            .collect();
        RateTable {
            rate: low_rate(rate),
            cell_log,
            table,
        }
    }

    fn spec(&self) -> Vec<u8> {
        const LINKLAYER_ETHERNET: u8 = 1;
        let mut spec = vec![self.cell_log, LINKLAYER_ETHERNET, 0, 0];
        // A cell's time is that of its largest packet; no packet is charged a minimum.
        spec.extend((-1i16).to_ne_bytes());
        spec.extend(0u16.to_ne_bytes());
        spec.extend(self.rate.to_ne_bytes());
        spec
    }
}

/// The 32-bit field of a rate; all ones when the 64-bit attribute says more.
pub(super) fn low_rate(rate: u64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX)
}

pub(super) fn push_rate64(options: &mut Vec<u8>, kind: u16, rate: u64) {
    if rate > u64::from(u32::MAX) {
        push_u64(options, kind, rate);
    }
}

fn numbers(attributes: &[(u16, Option<u32>)]) -> Vec<u8> {
    let mut options = Vec::new();
    for (kind, value) in attributes {
        if let Some(value) = value {
            push_u32(&mut options, *kind, *value);
        }
    }
    options
}

pub(super) fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{find, find_u32, find_u64, u32_at};
    use super::super::psched::tests::usual;
    use super::*;

    fn options(words: &str) -> Vec<u8> {
        let kind = fielato_qdisc::qdisc(words).unwrap().kind;
        qdisc_options(&kind, &usual()).unwrap_or_default()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Words, and the options that tc (iproute2 6.1) sends for them on a little-endian machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn short_options_are_tcs_own() {
        for (words, expected) in [
            ("root htb default 30", "18000200030000000a000000300000000000000000000000"),
            ("root pfifo limit 100", "64000000"),
            ("root bfifo limit 100k", "00900100"),
            ("root pfifo", ""),
            ("root prio bands 4", "040000000102020201020000010101010101010104000200"),
            (
                "root sfq perturb 10 limit 100 headdrop depth 20 flows 99 divisor 512 quantum 1500",
                "dc0500000a000000640000000002000063000000140000000100000000000000000000000000000000000000000000000000\
                 00000000000000000000000000000000000000000000",
            ),
            (
                "root fq_codel limit 1000 flows 512 target 5ms interval 100ms quantum 300 noecn ce_threshold 3ms memory_limit 1m",
                "08000200e80300000800050000020000080006002c01000008000300a08601000800010088130000\
                 080004000000000008000700b80b00000800090000001000",
            ),
            (
                "root cake bandwidth 100mbit rtt 50ms dual-dsthost nat overhead 20 mpu 64",
                "0c00020020bcbe00000000000800050006000000080006001400000008000e0040000000\
                 0800070050c3000008000800c409000008000b0001000000",
            ),
            (
                "root cake diffserv4 nonat ack-filter memlimit 4m flowblind",
                "0800030001000000080005000000000008000a000000400008000b00000000000800100001000000",
            ),
        ] {
            assert_eq!(hex(&options(words)), expected, "{words}");
        }
    }

    /// As tc (iproute2 6.1) sends it.
    #[test]
    fn size_tables_are_tcs_own() {
        let table = |words: &str| {
            let qdisc = fielato_qdisc::qdisc(&format!("root stab {words} htb")).unwrap();
            stab(&qdisc.stab.unwrap())
        };
        let atm = table("overhead 20 mpu 64 linklayer atm tsize 16").unwrap();
        let base = find(&atm, 1).unwrap();
        assert_eq!(base[..2], [7, 0]);
        assert_eq!(base[2..4], (-1_i16).to_ne_bytes());
        assert_eq!(base[4..], words(&[20, 2, 64, 2047, 16]));
        let lengths: Vec<u16> = find(&atm, 2)
            .unwrap()
            .chunks_exact(2)
            .map(|length| u16::from_ne_bytes([length[0], length[1]]))
            .collect();
        assert_eq!(
            lengths,
            [
                159, 318, 424, 583, 742, 848, 1007, 1166, 1272, 1431, 1590, 1696, 1855, 2014, 2120, 2279
            ]
        );
        let plain = table("overhead 20").unwrap();
        assert_eq!(find(&plain, 1).unwrap()[4..], words(&[20, 0, 0, 0, 0]));
        assert_eq!(find(&plain, 2), None);
        assert_eq!(table("linklayer wireguard"), None);
    }

    #[test]
    fn rates_beyond_32_bits_have_their_own_attribute() {
        let class = fielato_qdisc::class("parent 1: classid 1:10 htb rate 40gbit ceil 80gbit")
            .unwrap()
            .htb;
        let options = htb_class_options(&class, &usual());
        assert_eq!(find_u64(&options, 6), Some(5_000_000_000));
        assert_eq!(find_u64(&options, 7), Some(10_000_000_000));
        assert_eq!(u32_at(find(&options, 1).unwrap(), 8), Some(u32::MAX));

        let all = self::options("root tbf rate 40gbit burst 10m limit 10m peakrate 80gbit mtu 9000");
        assert_eq!(
            (find_u64(&all, 4), find_u64(&all, 5)),
            (Some(5_000_000_000), Some(10_000_000_000))
        );
        assert_eq!((find_u32(&all, 6), find_u32(&all, 7)), (Some(10 << 20), Some(9000)));
        let all = self::options("root netem rate 40gbit");
        assert_eq!(find_u64(&all[24..], 8), Some(5_000_000_000));
    }

    #[test]
    fn rate_tables_reach_the_largest_packet() {
        let psched = usual();
        for (mtu, cell_log) in [(200, 0), (1600, 3), (2047, 3), (2048, 4), (65_535, 8), (u32::MAX, 24)] {
            assert_eq!(RateTable::new(125_000, mtu, &psched).cell_log, cell_log, "{mtu}");
        }
        let table = RateTable::new(1_250_000, 1600, &psched).table;
        assert_eq!(
            (table.len(), u32_at(&table, 0), u32_at(&table, 4)),
            (1024, Some(93), Some(187))
        );
    }
}
