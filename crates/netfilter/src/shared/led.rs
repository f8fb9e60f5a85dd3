//! Lamps that packets light (`xt_LED.c`).

use std::collections::HashMap;

use super::MAX_NAMES;

/// All lamps by name, and until when they are lit: [`u64::MAX`] for ever.
#[derive(Debug, Default)]
pub struct Lamps(HashMap<Box<str>, Lamp>);

/// A lamp.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lamp {
    /// Until when it is lit, in nanoseconds of [`crate::Now::mono`].
    pub until: u64,
    /// How often it was switched on, blinks included.
    pub flashes: u64,
}

impl Lamps {
    /// Lights a lamp for `milliseconds`, or for ever; `blink`: also when it is lit.
    pub(crate) fn light(&mut self, name: &str, milliseconds: Option<u32>, blink: bool, now: u64) {
        if !self.0.contains_key(name) && self.0.len() >= MAX_NAMES {
            return;
        }
        let lamp = self.0.entry(name.into()).or_default();
        if blink || lamp.until <= now {
            lamp.flashes += 1;
        }
        lamp.until = milliseconds.map_or(u64::MAX, |ms| now.saturating_add(u64::from(ms) * 1_000_000));
    }

    /// A lamp that was lit once.
    pub fn get(&self, name: &str) -> Option<Lamp> {
        self.0.get(name).copied()
    }
}
