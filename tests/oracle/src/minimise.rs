//! A case that fails, made small: packets and rules that don't matter taken out.

use std::time::{Duration, Instant};

use crate::case::Trace;
use crate::compare::Mismatch;
use crate::error::Error;
use crate::run::{self, Outcome};
use crate::subject::Subject;

/// Makes `trace` smaller as long as `subject` still differs from `reference` in the same kind of thing, for `time` at most.
///
/// # Errors
/// Those of the subjects.
pub fn minimise(
    reference: &mut impl Subject,
    subject: &mut impl Subject,
    trace: Trace,
    mismatch: Mismatch,
    time: Duration,
) -> Result<(Trace, Mismatch), Error> {
    let until = Instant::now() + time;
    let mut best = (trace, mismatch);
    if let Mismatch::Outputs { step, .. } = &best.1 {
        // What came after doesn't matter, but counters and connections of before do.
        let mut shorter = best.0.clone();
        shorter.steps.truncate(step + 1);
        try_out(reference, subject, shorter, &mut best)?;
    }
    loop {
        let before = size(&best.0);
        // Steps and rules by turns: fewer rules make fewer packets matter, and the reverse.
        for part in [Part::Steps, Part::Rules] {
            let mut chunk = part.count(&best.0).div_ceil(2).max(1);
            loop {
                let mut at = 0;
                while at < part.count(&best.0) {
                    if Instant::now() > until {
                        return Ok(best);
                    }
                    let smaller = part.without(&best.0, at, chunk);
                    if !try_out(reference, subject, smaller, &mut best)? {
                        at += chunk;
                    }
                }
                if chunk == 1 {
                    break;
                }
                chunk /= 2;
            }
        }
        if size(&best.0) == before {
            return Ok(best);
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Steps,
    Rules,
}

impl Part {
    fn count(self, trace: &Trace) -> usize {
        match self {
            Part::Steps => trace.steps.len(),
            Part::Rules => [&trace.setup.rules_v4, &trace.setup.rules_v6]
                .iter()
                .flat_map(|rules| rules.lines())
                .filter(|line| is_rule(line))
                .count(),
        }
    }

    fn without(self, trace: &Trace, at: usize, count: usize) -> Trace {
        let mut trace = trace.clone();
        match self {
            Part::Steps => drop(trace.steps.drain(at..(at + count).min(trace.steps.len()))),
            Part::Rules => {
                let mut index = 0;
                for rules in [&mut trace.setup.rules_v4, &mut trace.setup.rules_v6] {
                    let kept = rules.lines().filter(|line| {
                        let place = index;
                        index += usize::from(is_rule(line));
                        !is_rule(line) || !(at..at + count).contains(&place)
                    });
                    *rules = kept.map(|line| format!("{line}\n")).collect();
                }
            }
        }
        trace
    }
}

fn is_rule(line: &str) -> bool {
    line.contains("-A ")
}

fn size(trace: &Trace) -> usize {
    Part::Steps.count(trace) + Part::Rules.count(trace)
}

/// Keeps `smaller` when it fails in the same way. A case that the kernel refuses, or that ends in a random choice, doesn't.
fn try_out(
    reference: &mut impl Subject,
    subject: &mut impl Subject,
    smaller: Trace,
    best: &mut (Trace, Mismatch),
) -> Result<bool, Error> {
    let recorded = match run::rerecord(reference, &smaller) {
        Err(Error::Rules { .. }) => return Ok(false),
        other => other?,
    };
    let outcome = match run::replay(subject, &recorded) {
        Err(Error::Rules { .. }) => return Ok(false),
        other => other?,
    };
    match outcome {
        Outcome::Differs(mismatch) if mismatch.kind() == best.1.kind() && run::repeats(reference, &recorded, &mismatch)? => {
            *best = (recorded, *mismatch);
            Ok(true)
        }
        _ => Ok(false),
    }
}
