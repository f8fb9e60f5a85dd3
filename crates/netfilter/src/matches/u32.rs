//! `-m u32` (`xt_u32.c`).

use std::ops::RangeInclusive;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::read32;

/// `-m u32`.
#[derive(Clone, Debug, PartialEq)]
pub struct U32 {
    /// `!`
    pub negated: bool,
    /// All must hold; at most [`U32::MAX`].
    pub tests: Box<[Test]>,
}

/// A value taken from the packet and the ranges one of which must hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Where the first four bytes are.
    pub start: u32,
    /// What is done with them, in order.
    pub steps: Vec<Step>,
    /// The ranges.
    pub values: Vec<RangeInclusive<u32>>,
}

/// A step from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `&`
    And(u32),
    /// `<<`
    Left(u32),
    /// `>>`
    Right(u32),
    /// `@`: the value is added to the base; the next four bytes are at this offset from it.
    At(u32),
}

impl Test {
    fn holds(&self, packet: &[u8]) -> bool {
        let mut base = 0usize;
        let Some(mut value) = read32(packet, self.start as usize) else {
            return false;
        };
        for step in &self.steps {
            value = match *step {
                Step::And(mask) => value & mask,
                // The kernel shifts by what the processor makes of it: the low five bits.
                Step::Left(bits) => value.wrapping_shl(bits),
                Step::Right(bits) => value.wrapping_shr(bits),
                Step::At(offset) => {
                    base = base.saturating_add(value as usize);
                    match read32(packet, base.saturating_add(offset as usize)) {
                        Some(value) => value,
                        None => return false,
                    }
                }
            };
        }
        self.values.iter().any(|range| range.contains(&value))
    }
}

impl U32 {
    /// Most tests, steps of a test, and ranges of a test.
    pub const MAX: usize = 10;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let too_many = |test: &Test| test.steps.len() >= U32::MAX || test.values.len() > U32::MAX;
        if self.tests.len() > U32::MAX || self.tests.iter().any(too_many) {
            return Err(CheckError("u32: more than 10 tests, numbers or ranges".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.tests.iter().all(|test| test.holds(&cx.packet.data)) != self.negated
    }
}
