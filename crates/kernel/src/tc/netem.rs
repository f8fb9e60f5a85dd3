//! netem's parameters to and from `TCA_OPTIONS` (linux/pkt_sched.h).

use std::fmt::Write as _;
use std::time::Duration;

use fielato_qdisc::spec::{Distribution, Loss, Netem, Slot, SlotWait, Table};

use super::attributes::{find, find_u32, find_u64, push, push_u32, push_u64, u32_at, u64_at};
use super::encode::{low_rate, push_rate64, words};
use super::psched::Psched;
use super::text::{general, percent, rate, time};

const TCA_NETEM_CORR: u16 = 1;
const TCA_NETEM_DELAY_DIST: u16 = 2;
const TCA_NETEM_REORDER: u16 = 3;
const TCA_NETEM_CORRUPT: u16 = 4;
const TCA_NETEM_LOSS: u16 = 5;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_ECN: u16 = 7;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
const TCA_NETEM_SLOT: u16 = 12;
const TCA_NETEM_SLOT_DIST: u16 = 13;
/// Since Linux 6.6; older kernels pass it over.
const TCA_NETEM_PRNG_SEED: u16 = 14;

/// Four states; `NETEM_LOSS_GI`.
const LOSS_STATE: u16 = 1;
/// Gilbert and Elliott; `NETEM_LOSS_GE`.
const LOSS_GILBERT: u16 = 2;

const NLA_F_NESTED: u16 = 0x8000;

/// Bytes of `struct tc_netem_qopt`.
const STRUCT_LEN: usize = 24;

/// `struct tc_netem_qopt`, then attributes. Times are given in ticks and, exactly, in nanoseconds.
pub fn netem(netem: &Netem, psched: &Psched) -> Vec<u8> {
    const DEFAULT_LIMIT: u32 = 1000;

    let (loss, loss_correlation) = match netem.loss {
        Loss::Random { percent, correlation } => (percent, correlation),
        Loss::State { .. } | Loss::Gilbert { .. } => (0.0, 0.0),
    };
    let ticks = |time: Duration| psched.ticks(time.as_nanos() as f64 / 1e3);
    let mut options = words(&[
        ticks(netem.delay),
        netem.limit.unwrap_or(DEFAULT_LIMIT),
        probability(loss),
        netem.gap,
        probability(netem.duplicate),
        ticks(netem.jitter),
    ]);
    push_u64(&mut options, TCA_NETEM_LATENCY64, nanoseconds(netem.delay));
    push_u64(&mut options, TCA_NETEM_JITTER64, nanoseconds(netem.jitter));
    let correlations = [netem.delay_correlation, loss_correlation, netem.duplicate_correlation].map(probability);
    if correlations != [0; 3] {
        push(&mut options, TCA_NETEM_CORR, &words(&correlations));
    }
    for (kind, share, correlation) in [
        (TCA_NETEM_REORDER, netem.reorder, netem.reorder_correlation),
        (TCA_NETEM_CORRUPT, netem.corrupt, netem.corrupt_correlation),
    ] {
        if share != 0.0 {
            push(&mut options, kind, &words(&[probability(share), probability(correlation)]));
        }
    }
    if netem.ecn {
        push_u32(&mut options, TCA_NETEM_ECN, 1);
    }
    if let Some((kind, values)) = loss_model(&netem.loss) {
        let mut model = Vec::new();
        push(&mut model, kind, &words(&values));
        push(&mut options, TCA_NETEM_LOSS | NLA_F_NESTED, &model);
    }
    if netem.rate != 0 {
        push_rate64(&mut options, TCA_NETEM_RATE64, netem.rate);
        let overheads = [
            netem.packet_overhead.cast_unsigned(),
            netem.cell_size,
            netem.cell_overhead.cast_unsigned(),
        ];
        push(
            &mut options,
            TCA_NETEM_RATE,
            &words(&[low_rate(netem.rate), overheads[0], overheads[1], overheads[2]]),
        );
    }
    if let Some(seed) = netem.seed {
        push_u64(&mut options, TCA_NETEM_PRNG_SEED, seed);
    }
    if let Some(slot) = &netem.slot {
        push(&mut options, TCA_NETEM_SLOT, &self::slot(slot));
    }
    if let Some(table) = netem.distribution.table() {
        push(&mut options, TCA_NETEM_DELAY_DIST, &self::table(table));
    }
    if let Some(Slot {
        wait: SlotWait::Spread { distribution, .. },
        ..
    }) = &netem.slot
        && let Some(table) = distribution.table()
    {
        push(&mut options, TCA_NETEM_SLOT_DIST, &self::table(table));
    }
    options
}

/// `struct tc_netem_gimodel` or `struct tc_netem_gemodel`.
fn loss_model(loss: &Loss) -> Option<(u16, Vec<u32>)> {
    match *loss {
        Loss::Random { .. } => None,
        Loss::State { p13, p31, p32, p23, p14 } => Some((LOSS_STATE, [p13, p31, p32, p14, p23].map(probability).to_vec())),
        Loss::Gilbert { p, r, bad, good } => {
            // tc's word is 1-H, what is lost; the kernel's field is H.
            let values = [probability(p), probability(r), u32::MAX - probability(bad), probability(good)];
            Some((LOSS_GILBERT, values.to_vec()))
        }
    }
}

/// `struct tc_netem_slot`
fn slot(slot: &Slot) -> Vec<u8> {
    let (least, most, delay, jitter) = match &slot.wait {
        SlotWait::Between(least, most) => (*least, *most, Duration::ZERO, Duration::ZERO),
        // The kernel takes no table to mean these bounds, not a form around a middle.
        SlotWait::Spread {
            distribution: Distribution::Uniform,
            delay,
            jitter,
        } => (
            delay.saturating_sub(*jitter),
            *delay + *jitter,
            Duration::ZERO,
            Duration::ZERO,
        ),
        SlotWait::Spread { delay, jitter, .. } => (Duration::ZERO, Duration::ZERO, *delay, *jitter),
    };
    let mut bytes = Vec::new();
    bytes.extend(nanoseconds(least).to_ne_bytes());
    bytes.extend(nanoseconds(most).to_ne_bytes());
    bytes.extend(words(&[slot.packets, slot.bytes]));
    bytes.extend(nanoseconds(delay).to_ne_bytes());
    bytes.extend(nanoseconds(jitter).to_ne_bytes());
    bytes
}

/// The entries of a table. Of a large one every second: two whole ones don't fit into one message's options, and the form is
/// the same.
fn table(table: &Table) -> Vec<u8> {
    const MOST: usize = 8192;
    let step = table.values().len().div_ceil(MOST).max(1);
    let entries = table.values().iter().step_by(step);
    entries.flat_map(|value| value.to_ne_bytes()).collect()
}

/// A percentage as a fraction of all 32 bits.
fn probability(percent: f64) -> u32 {
    (percent / 100.0 * f64::from(u32::MAX)).round_ties_even() as u32
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The parameters as tc prints them.
pub fn text(options: &[u8], psched: &Psched) -> Option<String> {
    let number = |offset| u32_at(options, offset);
    let attributes = options.get(STRUCT_LEN..)?;
    let correlation = |offset| {
        find(attributes, TCA_NETEM_CORR)
            .and_then(|value| u32_at(value, offset))
            .unwrap_or(0)
    };
    let pair = |kind| {
        find(attributes, kind)
            .and_then(|value| Some((u32_at(value, 0)?, u32_at(value, 4)?)))
            .unwrap_or((0, 0))
    };
    let microseconds = |wide, ticks| match find_u64(attributes, wide) {
        Some(nanoseconds) => nanoseconds as f64 / 1e3,
        None => psched.microseconds(ticks),
    };

    let mut text = format!("limit {}", number(4)?);
    let delay = microseconds(TCA_NETEM_LATENCY64, number(0)?);
    let jitter = microseconds(TCA_NETEM_JITTER64, number(20)?);
    if delay > 0.0 {
        let _ = write!(text, " delay {}", time(delay));
        if jitter > 0.0 {
            let _ = write!(text, "  {}", time(jitter));
            if correlation(0) != 0 {
                let _ = write!(text, " {}", percent(correlation(0)));
            }
        }
    }
    chance(&mut text, "loss", (number(8)?, correlation(4)));
    loss_text(&mut text, find(attributes, TCA_NETEM_LOSS).unwrap_or_default());
    chance(&mut text, "duplicate", (number(16)?, correlation(8)));
    chance(&mut text, "reorder", pair(TCA_NETEM_REORDER));
    chance(&mut text, "corrupt", pair(TCA_NETEM_CORRUPT));
    if let Some(seed) = find_u64(attributes, TCA_NETEM_PRNG_SEED) {
        let _ = write!(text, " seed {seed}");
    }
    rate_text(&mut text, attributes);
    slot_text(&mut text, find(attributes, TCA_NETEM_SLOT).unwrap_or_default());
    if find(attributes, TCA_NETEM_ECN).is_some() {
        text.push_str(" ecn ");
    }
    if number(12)? != 0 {
        let _ = write!(text, " gap {}", number(12)?);
    }
    Some(text)
}

fn chance(text: &mut String, name: &str, (probability, correlation): (u32, u32)) {
    if probability != 0 {
        let _ = write!(text, " {name} {}", percent(probability));
        if correlation != 0 {
            let _ = write!(text, " {}", percent(correlation));
        }
    }
}

fn loss_text(text: &mut String, model: &[u8]) {
    let value = |kind, offset| find(model, kind).and_then(|value| u32_at(value, offset));
    if let Some(p13) = value(LOSS_STATE, 0) {
        let _ = write!(text, " loss state p13 {}", percent(p13));
        for (name, offset) in [("p31", 4), ("p32", 8), ("p23", 16), ("p14", 12)] {
            let _ = write!(text, " {name} {}", percent(value(LOSS_STATE, offset).unwrap_or(0)));
        }
    }
    if let Some(p) = value(LOSS_GILBERT, 0) {
        let field = |offset| value(LOSS_GILBERT, offset).unwrap_or(0);
        let [r, bad, good] = [field(4), u32::MAX - field(8), field(12)].map(percent);
        let _ = write!(text, " loss gemodel p {} r {r} 1-h {bad} 1-k {good}", percent(p));
    }
}

fn rate_text(text: &mut String, attributes: &[u8]) {
    let Some(value) = find(attributes, TCA_NETEM_RATE) else {
        return;
    };
    let bytes = find_u64(attributes, TCA_NETEM_RATE64)
        .or(find_u32(attributes, TCA_NETEM_RATE).map(u64::from))
        .unwrap_or(0);
    if bytes == 0 {
        return;
    }
    let _ = write!(text, " rate {}", rate(bytes));
    for (name, offset) in [("packetoverhead", 4), ("cellsize", 8), ("celloverhead", 12)] {
        let number = u32_at(value, offset).unwrap_or(0);
        if number != 0 {
            let _ = write!(text, " {name} {}", number.cast_signed());
        }
    }
}

fn slot_text(text: &mut String, slot: &[u8]) {
    let wide = |offset| u64_at(slot, offset);
    let (Some(least), Some(most), Some(delay), Some(jitter)) = (wide(0), wide(8), wide(24), wide(32)) else {
        return;
    };
    let _ = match jitter {
        0 => write!(text, " slot {} {}", precise_time(least), precise_time(most)),
        _ => write!(text, " slot distribution {} {}", precise_time(delay), precise_time(jitter)),
    };
    for (name, offset) in [("packets", 16), ("bytes", 20)] {
        let number = u32_at(slot, offset).unwrap_or(0);
        if number != 0 {
            let _ = write!(text, " {name} {}", number.cast_signed());
        }
    }
}

/// Nanoseconds as tc prints them, in three digits: `800us`.
fn precise_time(nanoseconds: u64) -> String {
    let (scale, unit) = match nanoseconds {
        1_000_000_000.. => (1e9, "s"),
        1_000_000.. => (1e6, "ms"),
        1_000.. => (1e3, "us"),
        _ => return format!("{nanoseconds}ns"),
    };
    format!("{}{unit}", general(nanoseconds as f64 / scale, 3))
}

#[cfg(test)]
mod tests {
    use super::super::psched::tests::usual;
    use super::*;

    fn options(words: &str) -> Vec<u8> {
        match fielato_qdisc::qdisc(words).unwrap().kind {
            fielato_qdisc::QdiscKind::Netem(parameters) => netem(&parameters, &usual()),
            other => panic!("{other:?}"),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn netems_struct_and_attributes_are_tcs_own() {
        let all = options("root netem delay 100ms 10ms 25% loss 1% reorder 25% 50% gap 5");
        assert_eq!(hex(&all[..24]), "84d71700e8030000295c8f0205000000000000005a620200");
        assert_eq!(find_u64(&all[24..], 10), Some(100_000_000));
        assert_eq!(find_u64(&all[24..], 11), Some(10_000_000));
        assert_eq!(find(&all[24..], 1).map(hex).as_deref(), Some("000000400000000000000000"));
        assert_eq!(find(&all[24..], 3).map(hex).as_deref(), Some("0000004000000080"));

        let all = options("root netem duplicate 1% corrupt 2% rate 1mbit limit 50");
        assert_eq!(hex(&all[..24]), "00000000320000000000000000000000295c8f0200000000");
        assert_eq!(find(&all[24..], 4).map(hex).as_deref(), Some("52b81e0500000000"));
        assert_eq!(
            find(&all[24..], 6).map(hex).as_deref(),
            Some("48e80100000000000000000000000000")
        );
        assert_eq!(find(&all[24..], 3), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn models_slots_and_tables_are_tcs_own() {
        let all = options("root netem loss gemodel 1% 10% 70% 0.1% ecn rate 1mbit -14 48 5 slot 800us 1ms packets 5 bytes 1k");
        let attribute = |kind| find(&all[STRUCT_LEN..], kind).map(hex);
        assert_eq!(attribute(5).as_deref(), Some("14000200295c8f029a999919cdcccc4c37894100"));
        assert_eq!(attribute(6).as_deref(), Some("48e80100f2ffffff3000000005000000"));
        assert_eq!(attribute(7).as_deref(), Some("01000000"));
        assert_eq!(
            attribute(12).as_deref(),
            Some("00350c000000000040420f0000000000050000000004000000000000000000000000000000000000")
        );

        let all = options("root netem delay 10ms 1ms distribution pareto slot distribution normal 5ms 1ms seed 7");
        let tables = [2, 13].map(|kind| find(&all[STRUCT_LEN..], kind).unwrap());
        assert_eq!(tables.map(<[u8]>::len), [8192, 8192]);
        assert_eq!(hex(&tables[0][..4]), "abeaacea");
        assert_eq!(find_u64(&all[STRUCT_LEN..], 14), Some(7));
    }

    /// As tc 6.1 prints it.
    #[test]
    fn the_text_is_tcs() {
        for (words, expected) in [
            (
                "root netem loss state 1% 20% 3% 40% 0.5%",
                "limit 1000 loss state p13 1% p31 20% p32 3% p23 40% p14 0.5%",
            ),
            (
                "root netem loss gemodel 1% 10% 70% 0.1% ecn",
                "limit 1000 loss gemodel p 1% r 10% 1-h 70% 1-k 0.1% ecn ",
            ),
            (
                "root netem rate 1mbit -14 48 5 seed 9",
                "limit 1000 seed 9 rate 1Mbit packetoverhead -14 cellsize 48 celloverhead 5",
            ),
            (
                "root netem slot 800us 1500us packets 5 bytes 1k",
                "limit 1000 slot 800us 1.5ms packets 5 bytes 1024",
            ),
            (
                "root netem slot distribution normal 5ms 1ms",
                "limit 1000 slot distribution 5ms 1ms",
            ),
        ] {
            assert_eq!(text(&options(words), &usual()).as_deref(), Some(expected), "{words}");
        }
    }
}
