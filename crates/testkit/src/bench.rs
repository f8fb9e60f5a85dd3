//! What benchmarks share: rounds, the machine, goals, and one form of result.
//!
//! A benchmark prints a table and writes `bench/results/NAME.json`:
//! `version`, `what`, `unix_time`, `machine`, `kernel`, `conditions`, `rows`, `goals`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use serde_json::{Value, json};

/// What one case measured, in the order of its rounds.
#[derive(Debug, Clone, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// Adds a time, in milliseconds.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e3);
    }

    /// The value in the middle; of an even number the greater of the two.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted[sorted.len() / 2]
    }

    /// The smallest.
    pub fn minimum(&self) -> f64 {
        self.sorted()[0]
    }

    /// The largest.
    pub fn maximum(&self) -> f64 {
        self.sorted()[self.0.len() - 1]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// A bound that a figure keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Not more than this.
    Most(f64),
    /// Not less than this.
    Least(f64),
}

/// What is to be reached.
#[derive(Debug, Clone)]
pub struct Goal {
    /// In words.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What it has to be.
    pub limit: Limit,
    /// Of both.
    pub unit: &'static str,
}

impl Goal {
    /// Whether it is.
    pub fn reached(&self) -> bool {
        match self.limit {
            Limit::Most(most) => self.measured <= most,
            Limit::Least(least) => self.measured >= least,
        }
    }

    /// As one line for people.
    pub fn line(&self) -> String {
        let Self {
            what,
            measured,
            limit,
            unit,
        } = self;
        let verdict = if self.reached() { "reached" } else { "missed" };
        let (bound, limit) = match limit {
            Limit::Most(most) => ("most", most),
            Limit::Least(least) => ("least", least),
        };
        format!("goal: {what} at {bound} {limit}{unit}: {measured:.2}{unit}, {verdict}")
    }
}

/// Writes the result to `bench/results/NAME.json` in the workspace, and says so.
///
/// # Errors
/// When the file cannot be written.
pub fn write(name: &str, what: &str, conditions: &Value, rows: &[Value], goals: &[Goal]) -> io::Result<()> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/results"));
    fs::create_dir_all(&folder)?;
    write_to(&folder.join(format!("{name}.json")), what, conditions, rows, goals)?;
    println!("\nwritten: bench/results/{name}.json");
    Ok(())
}

/// Writes the result to a file anywhere: one that doesn't stand for the project, because a part was measured.
///
/// # Errors
/// When the file cannot be written.
pub fn write_to(file: &Path, what: &str, conditions: &Value, rows: &[Value], goals: &[Goal]) -> io::Result<()> {
    let goals: Vec<Value> = goals
        .iter()
        .map(|goal| {
            let (bound, limit) = match goal.limit {
                Limit::Most(most) => ("most", most),
                Limit::Least(least) => ("least", least),
            };
            json!({
                "goal": goal.what, "unit": goal.unit.trim(), bound: limit, "measured": goal.measured,
                "reached": goal.reached(),
            })
        })
        .collect();
    let report = json!({
        "version": 1,
        "what": what,
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "machine": { "processor": processor()?, "cpus": std::thread::available_parallelism()?.get(), "load": load()? },
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "conditions": conditions,
        "rows": rows,
        "goals": goals,
    });
    fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
}

fn processor() -> io::Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()))
}

/// Processes that wanted to run at the end of the benchmark, over one, five and fifteen minutes: was the machine quiet?
fn load() -> io::Result<Vec<f64>> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split_whitespace()
        .take(3)
        .filter_map(|number| number.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_verdicts() {
        let series = Series(vec![5.0, 1.0, 3.0]);
        assert_eq!((series.minimum(), series.median(), series.maximum()), (1.0, 3.0, 5.0));
        assert_eq!(Series(vec![1.0, 2.0]).median(), 2.0);
        let goal = |measured| Goal {
            what: "a day".into(),
            measured,
            limit: Limit::Most(24.0),
            unit: " h",
        };
        let least = Goal {
            limit: Limit::Least(24.0),
            ..goal(23.5)
        };
        assert_eq!(least.line(), "goal: a day at least 24 h: 23.50 h, missed");
        assert_eq!(goal(23.5).line(), "goal: a day at most 24 h: 23.50 h, reached");
        assert!(!goal(24.5).reached());
    }
}
