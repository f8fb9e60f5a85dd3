//! netem's options.

use std::time::Duration;

use super::{POSITIVE_NUMBER, find};
use crate::spec::{Distribution, Loss, Netem, QdiscKind, Slot, SlotWait, Table};
use crate::units::{NUMBER, PERCENT, PRECISE_TIME, RATE, SEED, SIGNED, SIZE, TIME, Unit};
use crate::words::{ParseError, Word, Words, put};

/// The text of a distribution file by its name, or why there is none.
pub type Tables<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

const OPTIONS: [&str; 12] = [
    "delay",
    "distribution",
    "loss",
    "ecn",
    "duplicate",
    "corrupt",
    "reorder",
    "gap",
    "rate",
    "slot",
    "limit",
    "seed",
];

pub fn netem(kind: Word<'_>, words: &mut Words<'_>, tables: &mut Tables<'_>) -> Result<QdiscKind, ParseError> {
    let (mut limit, mut delay, mut distribution, mut loss, mut ecn) = (None, None, None, None, None);
    let (mut duplicate, mut corrupt, mut reorder, mut gap) = (None, None, None, None);
    let (mut rate, mut slot, mut seed) = (None, None, None);
    while let Some(option) = words.next() {
        match option.text {
            "limit" => words.fill(&mut limit, option, &NUMBER)?,
            "delay" | "latency" => {
                let value = self::delay(option, words)?;
                put(&mut delay, option, value)?;
            }
            "distribution" => {
                let value = self::distribution(option, words, tables)?;
                put(&mut distribution, option, (value, option))?;
            }
            "loss" | "drop" => {
                let value = self::loss(option, words)?;
                put(&mut loss, option, value)?;
            }
            "ecn" => put(&mut ecn, option, option)?,
            "duplicate" => {
                let chance = chance(option, words)?;
                put(&mut duplicate, option, chance)?;
            }
            "corrupt" => {
                let chance = chance(option, words)?;
                put(&mut corrupt, option, chance)?;
            }
            "reorder" => {
                let chance = chance(option, words)?;
                put(&mut reorder, option, chance)?;
            }
            "gap" => words.fill(&mut gap, option, &POSITIVE_NUMBER)?,
            "rate" => {
                let value = self::rate(option, words)?;
                put(&mut rate, option, value)?;
            }
            "slot" => {
                let value = self::slot(option, words, tables)?;
                put(&mut slot, option, value)?;
            }
            "seed" => words.fill(&mut seed, option, &SEED)?,
            _ => return Err(option.unknown("an option of netem", &OPTIONS)),
        }
    }
    let reordering = reorder.is_some_and(|(percent, _)| percent > 0.0);
    if reordering && delay.is_none_or(|(time, ..)| time.is_zero()) {
        return Err(kind.error("netem's `reorder` needs a `delay`: the reordered packets are those that are not delayed"));
    }
    if gap.is_some() && !reordering {
        return Err(kind.error("netem's `gap` needs `reorder`"));
    }
    let loss = loss.unwrap_or_default();
    if let Some(word) = ecn
        && matches!(loss, Loss::Random { percent: 0.0, .. })
    {
        return Err(word.error("netem's `ecn` needs `loss`: packets are marked that would be lost"));
    }
    let (delay, jitter, delay_correlation) = delay.unwrap_or_default();
    let distribution = match distribution {
        Some((_, word)) if delay.is_zero() || jitter.is_zero() => {
            return Err(word.error("netem's `distribution` needs a delay and its jitter: `delay 100ms 10ms distribution normal`"));
        }
        Some((distribution, _)) => distribution,
        None => Distribution::Uniform,
    };
    let (duplicate, duplicate_correlation) = duplicate.unwrap_or_default();
    let (corrupt, corrupt_correlation) = corrupt.unwrap_or_default();
    let (reorder, reorder_correlation) = reorder.unwrap_or_default();
    let (rate, packet_overhead, cell_size, cell_overhead) = rate.unwrap_or_default();
    Ok(QdiscKind::Netem(Box::new(Netem {
        limit,
        delay,
        jitter,
        delay_correlation,
        distribution,
        loss,
        ecn: ecn.is_some(),
        duplicate,
        duplicate_correlation,
        corrupt,
        corrupt_correlation,
        reorder,
        reorder_correlation,
        // With reordering, tc's gap is 1 unless another is given: every packet may be reordered.
        gap: gap.unwrap_or(u32::from(reordering)),
        rate,
        packet_overhead,
        cell_size,
        cell_overhead,
        slot,
        seed,
    })))
}

/// `PERCENT [CORRELATION]`
fn chance(option: Word<'_>, words: &mut Words<'_>) -> Result<(f64, f64), ParseError> {
    let percent = words.value(option, &PERCENT)?;
    let correlation = words.value_if_number(option, &PERCENT)?;
    Ok((percent, correlation.unwrap_or(0.0)))
}

/// `TIME [JITTER [CORRELATION]]`
fn delay(option: Word<'_>, words: &mut Words<'_>) -> Result<(Duration, Duration, f64), ParseError> {
    let time = words.value(option, &TIME)?;
    let Some(jitter) = words.value_if_number(option, &TIME)? else {
        return Ok((time, Duration::ZERO, 0.0));
    };
    let correlation = words.value_if_number(option, &PERCENT)?;
    Ok((time, jitter, correlation.unwrap_or(0.0)))
}

/// `[random] PERCENT [CORRELATION]`, `state P13 [P31 [P32 [P23 [P14]]]]` or `gemodel P [R [1-H [1-K]]]`
fn loss(option: Word<'_>, words: &mut Words<'_>) -> Result<Loss, ParseError> {
    let model = words
        .peek()
        .filter(|word| matches!(word.text, "random" | "state" | "gemodel"));
    let Some(model) = model else {
        let (percent, correlation) = chance(option, words)?;
        return Ok(Loss::Random { percent, correlation });
    };
    words.next();
    match model.text {
        "state" => {
            let p13 = words.value(model, &PERCENT)?;
            let [p31, p32, p23, p14] = percents(model, words, [100.0 - p13, 0.0, 100.0, 0.0])?;
            Ok(Loss::State { p13, p31, p32, p23, p14 })
        }
        "gemodel" => {
            let p = words.value(model, &PERCENT)?;
            let [r, bad, good] = percents(model, words, [100.0 - p, 100.0, 0.0])?;
            Ok(Loss::Gilbert { p, r, bad, good })
        }
        _ => {
            let (percent, correlation) = chance(model, words)?;
            Ok(Loss::Random { percent, correlation })
        }
    }
}

/// As many percentages as follow; the others are as they were.
fn percents<const N: usize>(option: Word<'_>, words: &mut Words<'_>, mut values: [f64; N]) -> Result<[f64; N], ParseError> {
    for value in &mut values {
        match words.value_if_number(option, &PERCENT)? {
            Some(percent) => *value = percent,
            None => break,
        }
    }
    Ok(values)
}

/// `RATE [PACKETOVERHEAD [CELLSIZE [CELLOVERHEAD]]]`
fn rate(option: Word<'_>, words: &mut Words<'_>) -> Result<(u64, i32, u32, i32), ParseError> {
    let rate = words.value(option, &RATE)?;
    let packet_overhead = words.value_if_signed(option, &SIGNED)?;
    let cell_size = words.value_if_number(option, &NUMBER)?;
    let cell_overhead = words.value_if_signed(option, &SIGNED)?;
    Ok((
        rate,
        packet_overhead.unwrap_or(0),
        cell_size.unwrap_or(0),
        cell_overhead.unwrap_or(0),
    ))
}

/// `{MIN [MAX] | distribution NAME DELAY JITTER} [packets N] [bytes N]`
fn slot(option: Word<'_>, words: &mut Words<'_>, tables: &mut Tables<'_>) -> Result<Slot, ParseError> {
    let wait = match words.take("distribution") {
        Some(word) => SlotWait::Spread {
            distribution: distribution(word, words, tables)?,
            delay: words.value(word, &PRECISE_TIME)?,
            jitter: words.value(word, &POSITIVE_TIME)?,
        },
        None => {
            let least = words.value(option, &PRECISE_TIME)?;
            let most_word = words.peek();
            let most = words.value_if_number(option, &PRECISE_TIME)?.unwrap_or(least);
            if let Some(word) = most_word
                && most < least
            {
                return Err(word.error("a slot's longest time is below its shortest: `slot MIN MAX`"));
            }
            SlotWait::Between(least, most)
        }
    };
    let mut slot = Slot {
        wait,
        packets: 0,
        bytes: 0,
    };
    if let Some(word) = words.take("packets") {
        slot.packets = words.value(word, &SLOT_PACKETS)?;
    }
    if let Some(word) = words.take("bytes") {
        slot.bytes = words.value(word, &SLOT_BYTES)?;
    }
    Ok(slot)
}

fn distribution(option: Word<'_>, words: &mut Words<'_>, tables: &mut Tables<'_>) -> Result<Distribution, ParseError> {
    let Some(word) = words.next() else {
        return Err(option.error("`distribution` wants its name: uniform, normal, pareto, paretonormal, or that of a table"));
    };
    if let Some(known) = find(&Distribution::WORDS, word.text) {
        return Ok(known);
    }
    let names = Distribution::WORDS.map(|(name, _)| name);
    let text = tables(word.text).map_err(|reason| match reason.is_empty() {
        true => word.unknown("a distribution", &names),
        false => word.error(format!("the distribution `{}`: {reason}", word.text)),
    })?;
    let table = Table::parse(&text).map_err(|error| word.error(format!("the distribution `{}`: {error}", word.text)))?;
    Ok(Distribution::Table {
        name: word.text.to_owned(),
        table,
    })
}

const POSITIVE_TIME: Unit<Duration> = Unit {
    expected: PRECISE_TIME.expected,
    read: |word| (PRECISE_TIME.read)(word).filter(|time| !time.is_zero()),
};

/// The kernel keeps both in 31 bits (`struct tc_netem_slot`).
const SLOT_PACKETS: Unit<u32> = Unit {
    expected: "a number of packets",
    read: |word| (NUMBER.read)(word).filter(|number| *number <= i32::MAX.cast_unsigned()),
};

const SLOT_BYTES: Unit<u32> = Unit {
    expected: "a size up to 2 GB, such as 32k",
    read: |word| (SIZE.read)(word).filter(|size| *size <= i32::MAX.cast_unsigned()),
};
