//! Ranges of numbers, as most matches have them.

/// A range with both ends in it, or its complement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range<T> {
    /// Lowest.
    pub min: T,
    /// Highest.
    pub max: T,
    /// `!`
    pub negated: bool,
}

impl<T: Copy + PartialOrd> Range<T> {
    /// The range `min..=max`.
    pub const fn new(min: T, max: T) -> Range<T> {
        Range {
            min,
            max,
            negated: false,
        }
    }

    /// One value.
    pub const fn one(value: T) -> Range<T> {
        Range::new(value, value)
    }

    /// Everything outside.
    pub const fn not(self) -> Range<T> {
        Range { negated: true, ..self }
    }

    /// Whether it holds for `value`.
    #[inline]
    pub fn holds(&self, value: T) -> bool {
        (value >= self.min && value <= self.max) != self.negated
    }
}

impl Range<u8> {
    /// Every value.
    pub const ANY: Range<u8> = Range::new(0, u8::MAX);
}

impl Range<u16> {
    /// Every value.
    pub const ANY: Range<u16> = Range::new(0, u16::MAX);
}

impl Range<u32> {
    /// Every value.
    pub const ANY: Range<u32> = Range::new(0, u32::MAX);
}

impl Default for Range<u8> {
    fn default() -> Self {
        Range::<u8>::ANY
    }
}

impl Default for Range<u16> {
    fn default() -> Self {
        Range::<u16>::ANY
    }
}

impl Default for Range<u32> {
    fn default() -> Self {
        Range::<u32>::ANY
    }
}
