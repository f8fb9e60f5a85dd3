//! `stab` and its options, which stand before a discipline's kind.

use crate::spec::{LinkLayer, Stab};
use crate::units::{NUMBER, SIGNED, Unit};
use crate::words::{ParseError, Word, Words, put};

/// Reads options as long as they are `stab`'s.
pub fn stab(stab: Word<'_>, words: &mut Words<'_>) -> Result<Stab, ParseError> {
    let (mut new, mut linklayer, mut any) = (Stab::default(), None, false);
    while let Some(option) = words.peek() {
        if !matches!(option.text, "overhead" | "mpu" | "mtu" | "tsize" | "linklayer") {
            break;
        }
        words.next();
        any = true;
        match option.text {
            "overhead" => words.fill(&mut new.overhead, option, &OVERHEAD)?,
            "mpu" => words.fill(&mut new.mpu, option, &LENGTH)?,
            "mtu" => words.fill(&mut new.mtu, option, &LENGTH)?,
            "tsize" => words.fill(&mut new.tsize, option, &LENGTH)?,
            _ => {
                let known = LinkLayer::WORDS.map(|(word, _)| word);
                let Some(word) = words.next() else {
                    return Err(option.error(format!("`linklayer` wants one of {}", known.join(", "))));
                };
                let found = LinkLayer::WORDS.iter().find(|(name, _)| *name == word.text);
                let Some((_, value)) = found else {
                    return Err(word.unknown("a link layer", &known));
                };
                put(&mut linklayer, option, *value)?;
            }
        }
    }
    new.linklayer = linklayer.unwrap_or_default();
    match any {
        true => Ok(new),
        false => Err(stab.error("`stab` wants one of overhead, mpu, mtu, tsize, linklayer")),
    }
}

const OVERHEAD: Unit<i32> = Unit {
    expected: "a number of bytes from -1500 to 1500",
    read: |word| (SIGNED.read)(word).filter(|bytes| (-1500..=1500).contains(bytes)),
};

const LENGTH: Unit<u32> = Unit {
    expected: "a number of bytes up to 65535",
    read: |word| (NUMBER.read)(word).filter(|bytes| *bytes <= 65_535),
};
