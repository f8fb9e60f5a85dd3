//! Where two engines differ.

use std::fmt;

use fielato_oracle::compare::Mismatch;

use crate::subject::Tallies;

/// A difference between two engines.
#[derive(Clone, Debug)]
pub enum Difference {
    /// In a packet's outputs, or in a connection.
    Seen(Box<Mismatch>),
    /// In how many packets met something.
    Tally {
        /// What they met.
        name: String,
        /// Packets and bytes as they should be.
        expected: (u64, u64),
        /// As they are.
        got: (u64, u64),
    },
}

impl Difference {
    /// The packet after which it showed; the greatest number for what is compared at the end.
    pub fn step(&self) -> usize {
        match self {
            Difference::Seen(mismatch) => mismatch.step(),
            Difference::Tally { .. } => usize::MAX,
        }
    }

    /// A word for the kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Difference::Seen(mismatch) => mismatch.kind(),
            Difference::Tally { .. } => "tally",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Seen(mismatch) => mismatch.fmt(f),
            Difference::Tally { name, expected, got } => writeln!(
                f,
                "{name}: expected {} packets with {} bytes, got {} with {}",
                expected.0, expected.1, got.0, got.1
            ),
        }
    }
}

/// Compares what packets met.
pub fn tallies(expected: &Tallies, got: &Tallies) -> Option<Difference> {
    expected.keys().chain(got.keys()).find_map(|name| {
        let [expected, got] = [expected, got].map(|tallies| tallies.get(name).copied().unwrap_or_default());
        (expected != got).then(|| Difference::Tally {
            name: name.clone(),
            expected,
            got,
        })
    })
}
