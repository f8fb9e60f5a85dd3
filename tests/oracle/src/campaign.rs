//! Many cases, on several threads, with what they exercised and what differed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::compare::Mismatch;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::minimise::minimise;
use crate::run::{self, Outcome};
use crate::subject::Subject;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of the first case; each later case has the next.
    pub seed: u64,
    /// Packets in all.
    pub packets: u64,
    /// Packets of a case.
    pub case_packets: usize,
    /// Threads, each with its own subjects.
    pub threads: usize,
    /// Ends after so many mismatches.
    pub stop_after: usize,
    /// Where cases that fail are written, made small; nowhere when nothing.
    pub save: Option<PathBuf>,
    /// How long a case that fails is made smaller.
    pub minimise: Duration,
    /// Tells on standard error how far it is.
    pub progress: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cases run.
    pub cases: u64,
    /// Packets injected and compared.
    pub packets: u64,
    /// Cases given up because a random choice met another connection.
    pub ambiguous: u64,
    /// Cases given up because what they were recorded from didn't repeat them ([`run::repeats`]): the seed, and what differed.
    pub unrepeatable: Vec<(u64, Mismatch)>,
    /// Cases not compared because one packet brought about a storm of others.
    pub storms: u64,
    /// Each case that differed: its seed, what differed, and where it was written.
    pub mismatches: Vec<(u64, Mismatch, Option<PathBuf>)>,
    /// Rules left out because the other subject can't load them: by its reason, how many, and the first.
    pub refused: BTreeMap<String, (u64, String)>,
    /// Rules that were loaded.
    pub rules: u64,
    /// What was exercised.
    pub coverage: Coverage,
    /// How long it took.
    pub time: Duration,
}

impl Summary {
    /// The closing line.
    pub fn line(&self) -> String {
        format!(
            "{} packets in {} cases, {} rules, {} left out, {} mismatches, {} cases given up by random choices, {} not repeated by the kernel itself, \
             {} storms, {:.1} s, {:.0} packets/s",
            self.packets,
            self.cases,
            self.rules,
            self.refused.values().map(|(count, _)| count).sum::<u64>(),
            self.mismatches.len(),
            self.ambiguous,
            self.unrepeatable.len(),
            self.storms,
            self.time.as_secs_f64(),
            self.packets as f64 / self.time.as_secs_f64().max(0.001)
        )
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let unrepeatable: Vec<Value> = self
            .unrepeatable
            .iter()
            .map(|(seed, mismatch)| json!({"seed": seed, "kind": mismatch.kind(), "text": mismatch.to_string()}))
            .collect();
        let mismatches: Vec<Value> = self
            .mismatches
            .iter()
            .map(|(seed, mismatch, file)| json!({"seed": seed, "kind": mismatch.kind(), "text": mismatch.to_string(), "file": file}))
            .collect();
        json!({
            "version": 1,
            "packets": self.packets,
            "cases": self.cases,
            "rules": self.rules,
            "mismatches": mismatches,
            "ambiguous": self.ambiguous,
            "unrepeatable": unrepeatable,
            "storms": self.storms,
            "refused_rules": self.refused,
            "seconds": self.time.as_secs_f64(),
            "coverage": self.coverage.to_json(),
        })
    }
}

/// Runs cases made on what `reference` gives against what `other` gives.
///
/// # Errors
/// The first of any subject; and when the folder for failed cases can't be made.
pub fn run<R: Subject, S: Subject>(
    plan: &Plan,
    reference: impl Fn() -> R + Sync,
    other: impl Fn() -> S + Sync,
) -> Result<Summary, Error> {
    let began = Instant::now();
    if let Some(folder) = &plan.save {
        std::fs::create_dir_all(folder).map_err(Error::system(format!("make {}", folder.display())))?;
    }
    let (next, done, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
    let summary = Mutex::new(Summary::default());
    let cases = plan.packets.div_ceil(plan.case_packets as u64);
    let work = || -> Result<(), Error> {
        let (mut reference, mut other) = (reference(), other());
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases || failed.load(Ordering::Relaxed) >= plan.stop_after {
                return Ok(());
            }
            one(plan, case, &mut reference, &mut other, &summary, &failed)?;
            report(plan, done.fetch_add(1, Ordering::Relaxed) + 1, cases, &summary, began);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(work)).collect();
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
    plan: &Plan,
    case: u64,
    reference: &mut impl Subject,
    other: &mut impl Subject,
    summary: &Mutex<Summary>,
    failed: &AtomicUsize,
) -> Result<(), Error> {
    let seed = plan.seed.wrapping_add(case);
    let mut setup = run::setup(seed);
    let refused = other.prune(&mut setup);
    let packets = if setup.paced {
        plan.case_packets.min(60)
    } else {
        plan.case_packets
    };
    let rules = [&setup.rules_v4, &setup.rules_v6].map(|rules| rules.matches("-A ").count() as u64);
    let note = |change: &mut dyn FnMut(&mut Summary)| {
        let mut summary = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        summary.cases += 1;
        summary.rules += rules.iter().sum::<u64>();
        for (rule, reason) in &refused {
            summary.refused.entry(reason.clone()).or_insert_with(|| (0, rule.clone())).0 += 1;
        }
        change(&mut summary);
    };
    let Some(trace) = run::record_where(reference, setup, seed, packets, |packet| other.takes(packet))? else {
        note(&mut |summary| summary.storms += 1);
        return Ok(());
    };
    let outcome = run::replay(other, &trace)?;
    let mut coverage = Coverage::default();
    coverage.add(&trace);
    let mut coverage = Some(coverage);
    let count = trace.steps.len() as u64;
    match outcome {
        Outcome::Same => note(&mut |summary| {
            summary.packets += count;
            summary.coverage.merge(coverage.take().unwrap_or_default());
        }),
        Outcome::Ambiguous(step) => note(&mut |summary| {
            summary.packets += step as u64;
            summary.ambiguous += 1;
        }),
        Outcome::Differs(mismatch) if !run::repeats(reference, &trace, &mismatch)? => {
            note(&mut |summary| summary.unrepeatable.push((seed, (*mismatch).clone())));
        }
        Outcome::Differs(mismatch) => {
            failed.fetch_add(1, Ordering::Relaxed);
            let (small, mismatch) = match plan.save {
                Some(_) => minimise(reference, other, trace, *mismatch, plan.minimise)?,
                None => (trace, *mismatch),
            };
            let file = plan
                .save
                .as_ref()
                .map(|folder| folder.join(format!("{}-{seed}.case", mismatch.kind())));
            if let Some(file) = &file {
                let text: String = mismatch.to_string().lines().map(|line| format!("# {line}\n")).collect();
                std::fs::write(file, text + &small.to_text()).map_err(Error::system(format!("write {}", file.display())))?;
            }
            note(&mut |summary| {
                summary.packets += count;
                summary.coverage.merge(coverage.take().unwrap_or_default());
                summary.mismatches.push((seed, mismatch.clone(), file.clone()));
            });
        }
    }
    Ok(())
}

/// A line every hundredth of the way.
fn report(plan: &Plan, done: u64, cases: u64, summary: &Mutex<Summary>, began: Instant) {
    if plan.progress && done.is_multiple_of(cases.div_ceil(100)) {
        let summary = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        eprintln!(
            "{done} of {cases} cases, {} packets, {} mismatches, {:.0} s",
            summary.packets,
            summary.mismatches.len(),
            began.elapsed().as_secs_f64()
        );
    }
}
