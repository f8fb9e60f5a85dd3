//! Many cases, on several threads, with what they exercised and what differed.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fielato_oracle::error::Error as OracleError;
use serde_json::{Value, json};

use crate::compare::Difference;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::minimise::minimise;
use crate::run::{self, Outcome};
use crate::scene::{Scene, Setup};
use crate::subject::Subject;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Seed of the first case; each later case has the next.
    pub seed: u64,
    /// Packets in all.
    pub packets: u64,
    /// Packets of a case.
    pub case_packets: usize,
    /// Threads, each with its own subjects.
    pub threads: usize,
    /// Ends after so many differences.
    pub stop_after: usize,
    /// Where cases that differ are written, made small; nowhere when nothing.
    pub save: Option<PathBuf>,
    /// How long a case that differs is made smaller.
    pub minimise: Duration,
    /// Tells on standard error how far it is.
    pub progress: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cases run: each is a policy.
    pub cases: u64,
    /// Policies that were refused: the seed, and why.
    pub refused: Vec<(u64, String)>,
    /// Packets injected and compared.
    pub packets: u64,
    /// Cases given up because a random choice met another connection.
    pub ambiguous: u64,
    /// Cases given up because what they were recorded from didn't repeat them ([`run::repeats`]): the seed, and what differed.
    pub unrepeatable: Vec<(u64, Difference)>,
    /// Each case that differed: its seed, what differed, and where it was written.
    pub differences: Vec<(u64, Difference, Option<PathBuf>)>,
    /// What was exercised.
    pub coverage: Coverage,
    /// How long it took.
    pub time: Duration,
}

impl Summary {
    /// The closing line.
    pub fn line(&self) -> String {
        format!(
            "{} packets under {} policies, {} refused, {} differences, {} cases given up by random choices, {} not repeated by what they \
             were recorded from, {:.1} s, {:.0} packets/s",
            self.packets,
            self.cases,
            self.refused.len(),
            self.differences.len(),
            self.ambiguous,
            self.unrepeatable.len(),
            self.time.as_secs_f64(),
            self.packets as f64 / self.time.as_secs_f64().max(0.001)
        )
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let unrepeatable: Vec<Value> = self
            .unrepeatable
            .iter()
            .map(|(seed, difference)| json!({"seed": seed, "kind": difference.kind(), "text": difference.to_string()}))
            .collect();
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|(seed, difference, file)| {
                json!({"seed": seed, "kind": difference.kind(), "text": difference.to_string(), "file": file})
            })
            .collect();
        json!({
            "version": 1,
            "packets": self.packets,
            "policies": self.cases,
            "refused": self.refused,
            "differences": differences,
            "ambiguous": self.ambiguous,
            "unrepeatable": unrepeatable,
            "seconds": self.time.as_secs_f64(),
            "coverage": self.coverage.to_json(),
        })
    }
}

/// Runs cases made on what `reference` gives against what `other` gives.
///
/// # Errors
/// The first of any subject; and when the folder for differences can't be made.
pub fn run<R: Subject, S: Subject>(
    campaign: &Campaign,
    reference: impl Fn() -> R + Sync,
    other: impl Fn() -> S + Sync,
) -> Result<Summary, Error> {
    let began = Instant::now();
    if let Some(folder) = &campaign.save {
        std::fs::create_dir_all(folder).map_err(OracleError::system(format!("make {}", folder.display())))?;
    }
    let (next, done, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
    let summary = Mutex::new(Summary::default());
    let cases = campaign.packets.div_ceil(campaign.case_packets as u64);
    let work = || -> Result<(), Error> {
        let (mut reference, mut other) = (reference(), other());
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases || failed.load(Ordering::Relaxed) >= campaign.stop_after {
                return Ok(());
            }
            one(campaign, case, &mut reference, &mut other, &summary, &failed)?;
            report(campaign, done.fetch_add(1, Ordering::Relaxed) + 1, cases, &summary, began);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..campaign.threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let mut summary = summary.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary.time = began.elapsed();
    Ok(summary)
}

fn one(
    campaign: &Campaign,
    case: u64,
    reference: &mut impl Subject,
    other: &mut impl Subject,
    summary: &Mutex<Summary>,
    failed: &AtomicUsize,
) -> Result<(), Error> {
    let seed = campaign.seed.wrapping_add(case);
    let note = |change: &mut dyn FnMut(&mut Summary)| {
        let mut summary = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        summary.cases += 1;
        change(&mut summary);
    };
    let takes = |scene: &Scene, packet: &[u8]| other.takes(scene, packet);
    let case = match run::record(reference, Setup::generate(seed), seed, campaign.case_packets, takes) {
        Err(Error::Policy(why)) => {
            note(&mut |summary| summary.refused.push((seed, why.clone())));
            return Ok(());
        }
        other => other?,
    };
    let outcome = run::replay(other, &case)?;
    let mut coverage = Coverage::default();
    coverage.add(&case);
    let mut coverage = Some(coverage);
    let count = case.steps.len() as u64;
    match outcome {
        Outcome::Same => note(&mut |summary| {
            summary.packets += count;
            summary.coverage.merge(coverage.take().unwrap_or_default());
        }),
        Outcome::Ambiguous(step) => note(&mut |summary| {
            summary.packets += step as u64;
            summary.ambiguous += 1;
        }),
        Outcome::Differs(difference) if !run::repeats(reference, &case, &difference)? => {
            note(&mut |summary| summary.unrepeatable.push((seed, (*difference).clone())));
        }
        Outcome::Differs(difference) => {
            failed.fetch_add(1, Ordering::Relaxed);
            let (small, difference) = match campaign.save {
                Some(_) => minimise(reference, other, case, *difference, campaign.minimise)?,
                None => (case, *difference),
            };
            let file = campaign
                .save
                .as_ref()
                .map(|folder| folder.join(format!("{}-{seed}.case", difference.kind())));
            if let Some(file) = &file {
                let text: String = difference.to_string().lines().map(|line| format!("# {line}\n")).collect();
                std::fs::write(file, text + &small.to_text())
                    .map_err(OracleError::system(format!("write {}", file.display())))?;
            }
            note(&mut |summary| {
                summary.packets += count;
                summary.coverage.merge(coverage.take().unwrap_or_default());
                summary.differences.push((seed, difference.clone(), file.clone()));
            });
        }
    }
    Ok(())
}

/// A line every hundredth of the way.
fn report(campaign: &Campaign, done: u64, cases: u64, summary: &Mutex<Summary>, began: Instant) {
    if campaign.progress && done.is_multiple_of(cases.div_ceil(100)) {
        let summary = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        eprintln!(
            "{done} of {cases} cases, {} packets, {} differences, {:.0} s",
            summary.packets,
            summary.differences.len(),
            began.elapsed().as_secs_f64()
        );
    }
}
