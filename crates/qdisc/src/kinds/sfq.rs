//! sfq's options.

use std::time::Duration;

use super::{POSITIVE_NUMBER, POSITIVE_SIZE};
use crate::spec::{QdiscKind, Sfq};
use crate::units::{NUMBER, Unit};
use crate::words::{ParseError, Words};

pub fn sfq(words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    const OPTIONS: [&str; 7] = ["limit", "depth", "flows", "divisor", "quantum", "perturb", "headdrop"];
    let mut sfq = Sfq::default();
    while let Some(option) = words.next() {
        match option.text {
            "limit" => words.fill(&mut sfq.limit, option, &POSITIVE_NUMBER)?,
            "depth" => words.fill(&mut sfq.depth, option, &DEPTH)?,
            "flows" => words.fill(&mut sfq.flows, option, &FLOWS)?,
            "divisor" => words.fill(&mut sfq.divisor, option, &DIVISOR)?,
            "quantum" => words.fill(&mut sfq.quantum, option, &POSITIVE_SIZE)?,
            "perturb" => words.fill(&mut sfq.perturb, option, &SECONDS)?,
            "headdrop" => sfq.headdrop = true,
            "redflowlimit" | "min" | "max" | "avpkt" | "burst" | "probability" | "ecn" | "harddrop" => {
                return Err(option.error(format!(
                    "sfq's `{}` (RED for each flow) is not supported; fq_codel does that better",
                    option.text
                )));
            }
            _ => return Err(option.unknown("an option of sfq that is supported", &OPTIONS)),
        }
    }
    sfq.perturb = sfq.perturb.filter(|time| !time.is_zero());
    Ok(QdiscKind::Sfq(sfq))
}

const DEPTH: Unit<u32> = Unit {
    expected: "a number of packets from 1 to 127",
    read: |word| (NUMBER.read)(word).filter(|depth| (1..=Sfq::MAX_DEPTH).contains(depth)),
};

const FLOWS: Unit<u32> = Unit {
    expected: "a number of flows from 1 to 65408",
    read: |word| (NUMBER.read)(word).filter(|flows| (1..=Sfq::MAX_FLOWS).contains(flows)),
};

const DIVISOR: Unit<u32> = Unit {
    expected: "a power of two up to 65536",
    read: |word| (NUMBER.read)(word).filter(|divisor| divisor.is_power_of_two() && *divisor <= 65_536),
};

/// sfq's period is a bare number of seconds, unlike other times.
const SECONDS: Unit<Duration> = Unit {
    expected: "a whole number of seconds",
    read: |word| {
        let number = word.strip_suffix("sec").or_else(|| word.strip_suffix('s')).unwrap_or(word);
        Some(Duration::from_secs(u64::from((NUMBER.read)(number)?)))
    },
};
