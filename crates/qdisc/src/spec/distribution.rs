//! The forms that random delays can have: tables of an inverse distribution function, as netem reads them.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// What stands in a table for one deviation (`NETEM_DIST_SCALE` in linux/pkt_sched.h).
pub const SCALE: i64 = 8192;

/// Entries of the tables that are computed here, as many as iproute2's files have.
const ENTRIES: u32 = 4096;

/// Most entries that the kernel takes (`NETEM_DIST_MAX`).
const MOST_ENTRIES: usize = 16_384;

/// How random values spread around their middle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Distribution {
    /// Evenly.
    #[default]
    Uniform,
    /// As Gauss has it.
    Normal,
    /// Mostly early, with a long tail of late ones.
    Pareto,
    /// Three parts of Pareto's, one part of Gauss's: near what is measured on networks.
    ParetoNormal,
    /// A table of somebody's own.
    Table {
        /// What it is called in tc's words.
        name: String,
        /// Its content.
        table: Table,
    },
}

impl Distribution {
    /// tc's words for those that need no file.
    pub const WORDS: [(&'static str, Distribution); 4] = [
        ("uniform", Distribution::Uniform),
        ("normal", Distribution::Normal),
        ("pareto", Distribution::Pareto),
        ("paretonormal", Distribution::ParetoNormal),
    ];

    /// tc's word for it.
    pub fn name(&self) -> &str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Normal => "normal",
            Distribution::Pareto => "pareto",
            Distribution::ParetoNormal => "paretonormal",
            Distribution::Table { name, .. } => name,
        }
    }

    /// Its table; none for the uniform one, which needs none.
    pub fn table(&self) -> Option<&Table> {
        static NORMAL: LazyLock<Table> = LazyLock::new(|| computed(normal_entry));
        static PARETO: LazyLock<Table> = LazyLock::new(|| computed(pareto_entry));
        static PARETO_NORMAL: LazyLock<Table> =
            LazyLock::new(|| computed(|i| 0.25 * normal_entry(i) + 0.75 * clamp(pareto_entry(i))));
        match self {
            Distribution::Uniform => None,
            Distribution::Normal => Some(&NORMAL),
            Distribution::Pareto => Some(&PARETO),
            Distribution::ParetoNormal => Some(&PARETO_NORMAL),
            Distribution::Table { table, .. } => Some(table),
        }
    }
}

/// A distribution as it is serialized: by its name, and with its table only if nobody else knows it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Known(String),
    Table { name: String, table: Table },
}

impl From<Distribution> for Written {
    fn from(distribution: Distribution) -> Self {
        match distribution {
            Distribution::Table { name, table } => Written::Table { name, table },
            known => Written::Known(known.name().to_owned()),
        }
    }
}

impl TryFrom<Written> for Distribution {
    type Error = TableError;

    fn try_from(written: Written) -> Result<Self, TableError> {
        match written {
            Written::Table { name, table } => Ok(Distribution::Table { name, table }),
            Written::Known(name) => {
                let known = Distribution::WORDS.into_iter().find(|(word, _)| *word == name);
                known.map(|(_, distribution)| distribution).ok_or(TableError::Unknown(name))
            }
        }
    }
}

/// Values in units of a deviation divided by [`SCALE`], in ascending order of probability. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<i16>", try_from = "Vec<i16>")]
pub struct Table(Arc<[i16]>);

impl From<Table> for Vec<i16> {
    fn from(table: Table) -> Self {
        table.0.to_vec()
    }
}

impl TryFrom<Vec<i16>> for Table {
    type Error = TableError;

    fn try_from(values: Vec<i16>) -> Result<Self, TableError> {
        match values.len() {
            0 => Err(TableError::Empty),
            1..=MOST_ENTRIES => Ok(Table(values.into())),
            _ => Err(TableError::Long),
        }
    }
}

/// Why a text is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TableError {
    #[error("line {line} of the table has `{word}`, which is not a whole number from -32768 to 32767")]
    Number { line: usize, word: String },
    #[error("the table has more than {MOST_ENTRIES} numbers, which is the most that netem takes")]
    Long,
    #[error("the table has no numbers; it is made of whole numbers, {SCALE} for one deviation")]
    Empty,
    #[error("the distribution `{0}` has no table")]
    Unknown(String),
}

impl Table {
    /// Reads a distribution file as tc's are: whole numbers between blanks, lines of comment after `#`.
    ///
    /// # Errors
    /// When something else stands there, or nothing at all.
    pub fn parse(text: &str) -> Result<Table, TableError> {
        let mut values = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            for word in line.split_ascii_whitespace() {
                let value = word.parse().map_err(|_| TableError::Number {
                    line: number + 1,
                    word: word.to_owned(),
                })?;
                values.push(value);
            }
            if values.len() > MOST_ENTRIES {
                return Err(TableError::Long);
            }
        }
        Table::try_from(values)
    }

    /// The entries.
    pub fn values(&self) -> &[i16] {
        &self.0
    }

    /// The entry that a random number chooses: the larger the number, the larger the entry.
    pub fn pick(&self, random: u32) -> i64 {
        let place = (u64::from(random) * self.0.len() as u64) >> 32;
        let place = place as usize;
        self.0.get(place).copied().unwrap_or(0).into()
    }
}

fn computed(entry: impl Fn(u32) -> f64) -> Table {
    // A cast from a float saturates at the type's ends.
    Table((0..ENTRIES).map(|i| clamp(entry(i)) as i16).collect())
}

fn clamp(value: f64) -> f64 {
    value.clamp(f64::from(i16::MIN), f64::from(i16::MAX))
}

/// Gauss's distribution: the value that `i` of all entries stay below.
fn normal_entry(i: u32) -> f64 {
    if i == 0 {
        return f64::from(i16::MIN);
    }
    (quantile(f64::from(i) / f64::from(ENTRIES)) * SCALE as f64).round()
}

/// Pareto's with the exponent 3, moved to the mean 0 and divided by its variance 3/4. (To have the deviation 1 it would be
/// divided by the root of that; all of netem's tables since NIST Net are as here.)
fn pareto_entry(i: u32) -> f64 {
    let above = f64::from(ENTRIES - i) / f64::from(ENTRIES);
    ((above.powf(-1.0 / 3.0) - 1.5) / 0.75 * SCALE as f64).trunc()
}

/// The inverse of the normal distribution function, found by bisection of [`cumulative`].
fn quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..48 {
        let middle = (low + high) / 2.0;
        match cumulative(middle) < probability {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

/// The normal distribution function, by its series (Abramowitz and Stegun, 26.2.11), which holds between -6 and 6.
pub(crate) fn cumulative(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while f64::abs(term) > 1e-17 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(distribution: &Distribution, share: f64) -> f64 {
        let values = distribution.table().unwrap().values();
        f64::from(values[(share * values.len() as f64) as usize]) / SCALE as f64
    }

    /// Shares and quantiles that iproute2 6.1's files have, in deviations.
    #[test]
    fn computed_tables_are_near_iproute2s() {
        for (distribution, quantiles) in [
            (
                Distribution::Normal,
                [(0.01, -2.3341), (0.1, -1.2822), (0.5, 0.0), (0.75, 0.6746), (0.99, 2.3271)],
            ),
            (
                Distribution::Pareto,
                [
                    (0.01, -0.6624),
                    (0.1, -0.6191),
                    (0.5, -0.3201),
                    (0.75, 0.1166),
                    (0.99, 3.9999),
                ],
            ),
            (
                Distribution::ParetoNormal,
                [(0.01, -1.0802), (0.1, -0.7849), (0.5, -0.24), (0.75, 0.256), (0.99, 3.5817)],
            ),
        ] {
            for (share, value) in quantiles {
                let ours = at(&distribution, share);
                assert!((ours - value).abs() < 0.01, "{distribution:?} {share}: {ours}, not {value}");
            }
            assert!(distribution.table().unwrap().values().is_sorted());
        }
    }

    #[test]
    fn a_normal_table_has_mean_0_and_deviation_1() {
        let values = Distribution::Normal.table().unwrap().values();
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean / 8192.0).abs() < 0.002, "{mean}");
        assert!((variance.sqrt() / 8192.0 - 1.0).abs() < 0.002, "{variance}");
    }

    #[test]
    fn a_table_is_read_as_tc_reads_it() {
        let table = Table::parse("# a comment\n -5 0\t7\n\n 32767 -32768\n").unwrap();
        assert_eq!(table.values(), [-5, 0, 7, 32_767, -32_768]);
        assert_eq!([0, 1 << 31, u32::MAX].map(|random| table.pick(random)), [-5, 7, -32_768]);
        assert_eq!(Table::parse("# nothing\n"), Err(TableError::Empty));
        assert_eq!(Table::parse(&"1 ".repeat(MOST_ENTRIES + 1)), Err(TableError::Long));
        let wrong = |line, word: &str| TableError::Number {
            line,
            word: word.to_owned(),
        };
        assert_eq!(Table::parse("1\n2 40000"), Err(wrong(2, "40000")));
        assert_eq!(Table::parse("1 x"), Err(wrong(1, "x")));
    }

    #[test]
    fn only_a_table_of_ones_own_is_serialized() {
        let own = Distribution::Table {
            name: "mine".to_owned(),
            table: Table::parse("-1 0 1").unwrap(),
        };
        for (distribution, json) in [
            (Distribution::ParetoNormal, r#""paretonormal""#),
            (own, r#"{"name":"mine","table":[-1,0,1]}"#),
        ] {
            assert_eq!(serde_json::to_string(&distribution).unwrap(), json);
            assert_eq!(serde_json::from_str::<Distribution>(json).unwrap(), distribution);
        }
        for json in [r#""mine""#, r#"{"name":"mine","table":[]}"#] {
            assert!(serde_json::from_str::<Distribution>(json).is_err(), "{json}");
        }
    }
}
