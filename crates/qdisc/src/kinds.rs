//! The options of each discipline.

mod filter;
mod netem;
mod prio;
mod sfq;
mod stab;

use std::time::Duration;

use crate::spec::{Cake, CakeDiffserv, CakeFlowMode, Codel, DEFAULT_R2Q, FqCodel, HostFairness, HtbClass, QdiscKind, Tbf};

use crate::units::{MINOR, NUMBER, RATE, SIGNED, SIZE, TIME, Unit};
use crate::words::{ParseError, Word, Words, put};

pub use filter::filter;
pub use netem::netem;
pub use prio::prio;
pub use sfq::sfq;
pub use stab::stab;

pub fn pfifo(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    Ok(QdiscKind::Pfifo {
        limit: only_limit(words, "pfifo", &NUMBER)?,
    })
}

pub fn bfifo(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    Ok(QdiscKind::Bfifo {
        limit: only_limit(words, "bfifo", &SIZE)?,
    })
}

fn only_limit(words: &mut Words<'_>, kind: &str, unit: &Unit<u32>) -> Result<Option<u32>, ParseError> {
    let mut limit = None;
    while let Some(option) = words.next() {
        match option.text {
            "limit" => words.fill(&mut limit, option, unit)?,
            _ => return Err(option.unknown(&format!("an option of {kind} that is supported"), &["limit"])),
        }
    }
    Ok(limit)
}

pub fn htb(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    let (mut default, mut r2q) = (None, None);
    while let Some(option) = words.next() {
        match option.text {
            "default" => words.fill(&mut default, option, &MINOR)?,
            "r2q" => words.fill(&mut r2q, option, &POSITIVE_NUMBER)?,
            _ => return Err(option.unknown("an option of htb that is supported", &["default", "r2q"])),
        }
    }
    Ok(QdiscKind::Htb {
        default: default.unwrap_or(0),
        r2q: r2q.unwrap_or(DEFAULT_R2Q),
    })
}

pub fn htb_class(kind: Word<'_>, words: &mut Words<'_>) -> Result<HtbClass, ParseError> {
    const OPTIONS: [&str; 6] = ["rate", "ceil", "burst", "cburst", "prio", "quantum"];
    let (mut rate, mut ceil, mut burst, mut cburst, mut prio, mut quantum) = (None, None, None, None, None, None);
    while let Some(option) = words.next() {
        match option.text {
            "rate" => words.fill(&mut rate, option, &POSITIVE_RATE)?,
            "ceil" => words.fill(&mut ceil, option, &POSITIVE_RATE)?,
            "burst" | "buffer" | "maxburst" => words.fill(&mut burst, option, &POSITIVE_SIZE)?,
            "cburst" | "cbuffer" | "cmaxburst" => words.fill(&mut cburst, option, &POSITIVE_SIZE)?,
            "prio" => words.fill(&mut prio, option, &PRIO)?,
            "quantum" => words.fill(&mut quantum, option, &POSITIVE_NUMBER)?,
            _ => return Err(option.unknown("an option of an htb class that is supported", &OPTIONS)),
        }
    }
    let Some(rate) = rate else {
        return Err(kind.error("an htb class needs a rate: `htb rate 10mbit`"));
    };
    Ok(HtbClass {
        rate,
        ceil: ceil.unwrap_or(rate),
        burst,
        cburst,
        prio: prio.unwrap_or(0),
        quantum,
    })
}

pub fn tbf(kind: Word<'_>, words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    const OPTIONS: [&str; 6] = ["rate", "burst", "latency", "limit", "peakrate", "mtu"];
    let (mut rate, mut burst, mut latency, mut limit, mut peakrate, mut mtu) = (None, None, None, None, None, None);
    let mut latency_word = kind;
    while let Some(option) = words.next() {
        match option.text {
            "rate" => words.fill(&mut rate, option, &POSITIVE_RATE)?,
            "burst" | "buffer" | "maxburst" => words.fill(&mut burst, option, &POSITIVE_SIZE)?,
            "latency" => {
                latency_word = option;
                words.fill(&mut latency, option, &TIME)?;
            }
            "limit" => words.fill(&mut limit, option, &POSITIVE_SIZE)?,
            "peakrate" => words.fill(&mut peakrate, option, &POSITIVE_RATE)?,
            "mtu" | "minburst" => words.fill(&mut mtu, option, &POSITIVE_SIZE)?,
            _ => return Err(option.unknown("an option of tbf that is supported", &OPTIONS)),
        }
    }
    let (Some(rate), Some(burst)) = (rate, burst) else {
        return Err(kind.error("tbf needs `rate` and `burst`: `tbf rate 1mbit burst 32k latency 400ms`"));
    };
    if peakrate.is_some() && mtu.is_none() {
        return Err(kind.error("tbf with `peakrate` needs `mtu` too: the peak bucket's size, at least the device's MTU"));
    }
    if peakrate.is_some_and(|peak| peak <= rate) {
        return Err(kind.error("tbf's `peakrate` must be above its `rate`"));
    }
    let limit = match (limit, latency) {
        (Some(limit), None) => limit,
        (None, Some(latency)) => waiting(latency, rate, burst, peakrate.zip(mtu))
            .ok_or_else(|| latency_word.error("`latency` at this rate is more than the 4 GB that can wait"))?,
        (None, None) => return Err(kind.error("tbf needs `latency` or `limit`: how long or how much may wait")),
        (Some(_), Some(_)) => return Err(latency_word.error("tbf takes `latency` or `limit`, not both")),
    };
    Ok(QdiscKind::Tbf(Tbf {
        rate,
        burst,
        limit,
        peakrate,
        mtu: mtu.filter(|_| peakrate.is_some()),
    }))
}

/// Bytes that wait no longer than `latency` when the bucket is full (`man 8 tc-tbf`), for both buckets.
fn waiting(latency: Duration, rate: u64, burst: u32, peak: Option<(u64, u32)>) -> Option<u32> {
    let bytes = |rate: u64, burst: u32| rate as f64 * latency.as_micros() as f64 / 1e6 + f64::from(burst);
    let limit = match peak {
        Some((peakrate, mtu)) => bytes(rate, burst).min(bytes(peakrate, mtu)),
        None => bytes(rate, burst),
    };
    (limit <= f64::from(u32::MAX)).then_some(limit as u32)
}

pub fn codel(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    const OPTIONS: [&str; 6] = ["limit", "target", "interval", "ecn", "noecn", "ce_threshold"];
    let mut codel = Codel::default();
    while let Some(option) = words.next() {
        match option.text {
            "limit" => words.fill(&mut codel.limit, option, &NUMBER)?,
            "target" => words.fill(&mut codel.target, option, &MICROSECONDS)?,
            "interval" => words.fill(&mut codel.interval, option, &MICROSECONDS)?,
            "ecn" => put(&mut codel.ecn, option, true)?,
            "noecn" => put(&mut codel.ecn, option, false)?,
            "ce_threshold" => words.fill(&mut codel.ce_threshold, option, &MICROSECONDS)?,
            _ => return Err(option.unknown("an option of codel", &OPTIONS)),
        }
    }
    Ok(QdiscKind::Codel(codel))
}

pub fn fq_codel(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    const OPTIONS: [&str; 10] = [
        "limit",
        "flows",
        "target",
        "interval",
        "quantum",
        "ecn",
        "noecn",
        "ce_threshold",
        "memory_limit",
        "hosts",
    ];
    let mut fq_codel = FqCodel::default();
    while let Some(option) = words.next() {
        match option.text {
            "limit" => words.fill(&mut fq_codel.limit, option, &NUMBER)?,
            "flows" => words.fill(&mut fq_codel.flows, option, &FLOWS)?,
            "target" => words.fill(&mut fq_codel.target, option, &MICROSECONDS)?,
            "interval" => words.fill(&mut fq_codel.interval, option, &MICROSECONDS)?,
            "quantum" => words.fill(&mut fq_codel.quantum, option, &NUMBER)?,
            "ecn" => put(&mut fq_codel.ecn, option, true)?,
            "noecn" => put(&mut fq_codel.ecn, option, false)?,
            "ce_threshold" => words.fill(&mut fq_codel.ce_threshold, option, &MICROSECONDS)?,
            "memory_limit" => words.fill(&mut fq_codel.memory_limit, option, &SIZE)?,
            "hosts" => words.fill(&mut fq_codel.hosts, option, &HOSTS)?,
            _ => return Err(option.unknown("an option of fq_codel that is supported", &OPTIONS)),
        }
    }
    Ok(QdiscKind::FqCodel(fq_codel))
}

/// CAKE's words for round-trip times (`man 8 tc-cake`, in milliseconds).
const RTT_WORDS: [(&str, f64); 8] = [
    ("datacentre", 0.1),
    ("lan", 1.0),
    ("metro", 10.0),
    ("regional", 30.0),
    ("internet", 100.0),
    ("oceanic", 300.0),
    ("satellite", 1000.0),
    ("interplanetary", 1_000_000.0),
];

pub fn cake(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    let mut options = vec![
        "bandwidth",
        "unlimited",
        "rtt",
        "overhead",
        "mpu",
        "memlimit",
        "nat",
        "nonat",
        "ack-filter",
        "no-ack-filter",
    ];
    options.extend(CakeDiffserv::WORDS.map(|(word, _)| word));
    options.extend(CakeFlowMode::WORDS.map(|(word, _)| word));
    options.extend(RTT_WORDS.map(|(word, _)| word));

    let mut cake = Cake::default();
    let mut bandwidth = None;
    while let Some(option) = words.next() {
        match option.text {
            "bandwidth" => {
                let rate = words.value(option, &POSITIVE_RATE)?;
                put(&mut bandwidth, option, Some(rate))?;
            }
            "unlimited" => put(&mut bandwidth, option, None)?,
            "rtt" => words.fill(&mut cake.rtt, option, &MICROSECONDS)?,
            "overhead" => words.fill(&mut cake.overhead, option, &OVERHEAD)?,
            "mpu" => words.fill(&mut cake.mpu, option, &MPU)?,
            "memlimit" => words.fill(&mut cake.memory_limit, option, &SIZE)?,
            "nat" => put(&mut cake.nat, option, true)?,
            "nonat" => put(&mut cake.nat, option, false)?,
            "ack-filter" => put(&mut cake.ack_filter, option, true)?,
            "no-ack-filter" => put(&mut cake.ack_filter, option, false)?,
            word => {
                if let Some(mode) = find(&CakeDiffserv::WORDS, word) {
                    put(&mut cake.diffserv, option, mode)?;
                } else if let Some(mode) = find(&CakeFlowMode::WORDS, word) {
                    put(&mut cake.flow_mode, option, mode)?;
                } else if let Some(milliseconds) = find(&RTT_WORDS, word) {
                    put(&mut cake.rtt, option, Duration::from_micros((milliseconds * 1e3) as u64))?;
                } else {
                    return Err(option.unknown("an option of cake that is supported", &options));
                }
            }
        }
    }
    cake.bandwidth = bandwidth.flatten();
    Ok(QdiscKind::Cake(cake))
}

fn find<T: Clone>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| value.clone())
}

const POSITIVE_RATE: Unit<u64> = Unit {
    expected: RATE.expected,
    read: |word| (RATE.read)(word).filter(|rate| *rate > 0),
};

const POSITIVE_SIZE: Unit<u32> = Unit {
    expected: SIZE.expected,
    read: |word| (SIZE.read)(word).filter(|size| *size > 0),
};

const POSITIVE_NUMBER: Unit<u32> = Unit {
    expected: "a whole number of at least 1",
    read: |word| (NUMBER.read)(word).filter(|number| *number > 0),
};

/// HTB has eight priorities (`TC_HTB_NUMPRIO`).
const PRIO: Unit<u32> = Unit {
    expected: "a priority from 0 to 7",
    read: |word| (NUMBER.read)(word).filter(|prio| *prio < 8),
};

/// fq_codel refuses more queues (`fq_codel_change`).
const FLOWS: Unit<u32> = Unit {
    expected: "a number of queues from 1 to 65536",
    read: |word| (NUMBER.read)(word).filter(|flows| (1..=65536).contains(flows)),
};

/// Our own: the kernel's fq_codel knows no hosts.
const HOSTS: Unit<HostFairness> = Unit {
    expected: "what shares are counted by: src, dst or none",
    read: |word| find(&HostFairness::WORDS, word),
};

/// Limits of `tc-cake`.
const OVERHEAD: Unit<i32> = Unit {
    expected: "a number of bytes from -64 to 256",
    read: |word| (SIGNED.read)(word).filter(|bytes| (-64..=256).contains(bytes)),
};

const MPU: Unit<u32> = Unit {
    expected: "a number of bytes from 0 to 256",
    read: |word| (NUMBER.read)(word).filter(|bytes| *bytes <= 256),
};

/// A time that the kernel takes in whole microseconds; at least one.
const MICROSECONDS: Unit<Duration> = Unit {
    expected: TIME.expected,
    read: |word| {
        let time = (TIME.read)(word)?;
        let whole = Duration::from_micros(u64::try_from(time.as_micros()).ok()?);
        (!whole.is_zero()).then_some(whole)
    },
};
