//! A case that fails, made small: packets and parts of the policy that don't matter taken out.

use std::time::{Duration, Instant};

use crate::case::Case;
use crate::compare::Difference;
use crate::error::Error;
use crate::run::{self, Outcome};
use crate::subject::Subject;

/// Makes `case` smaller as long as `subject` still differs from `reference` in the same kind of thing, for `time` at most.
///
/// # Errors
/// Those of the subjects.
pub fn minimise(
    reference: &mut impl Subject,
    subject: &mut impl Subject,
    case: Case,
    difference: Difference,
    time: Duration,
) -> Result<(Case, Difference), Error> {
    let until = Instant::now() + time;
    let mut best = (case, difference);
    if best.1.step() != usize::MAX {
        // What came after doesn't matter, but counters and connections of before do.
        let mut shorter = best.0.clone();
        shorter.steps.truncate(best.1.step() + 1);
        try_out(reference, subject, shorter, &mut best)?;
    }
    loop {
        let before = size(&best.0);
        // By turns: a smaller policy makes fewer packets matter, and the reverse.
        for part in [Part::Steps, Part::Sections] {
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
    /// `[…]` and what is under it.
    Sections,
}

/// The policy's sections.
fn sections(policy: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in policy.lines().filter(|line| !line.is_empty()) {
        match all.last_mut() {
            Some(section) if !line.starts_with('[') => *section += &format!("{line}\n"),
            _ => all.push(format!("{line}\n")),
        }
    }
    all
}

impl Part {
    fn count(self, case: &Case) -> usize {
        match self {
            Part::Steps => case.steps.len(),
            Part::Sections => sections(&case.setup.policy).len(),
        }
    }

    fn without(self, case: &Case, at: usize, count: usize) -> Case {
        let mut case = case.clone();
        match self {
            Part::Steps => drop(case.steps.drain(at..(at + count).min(case.steps.len()))),
            Part::Sections => {
                let mut kept = sections(&case.setup.policy);
                kept.drain(at..(at + count).min(kept.len()));
                case.setup.policy = kept.join("\n");
            }
        }
        case
    }
}

fn size(case: &Case) -> usize {
    Part::Steps.count(case) + Part::Sections.count(case)
}

/// Keeps `smaller` when it fails in the same way. A policy that is refused, or a case that ends in a random choice, doesn't.
fn try_out(
    reference: &mut impl Subject,
    subject: &mut impl Subject,
    smaller: Case,
    best: &mut (Case, Difference),
) -> Result<bool, Error> {
    let recorded = match run::rerecord(reference, &smaller) {
        Err(Error::Policy(_)) => return Ok(false),
        other => other?,
    };
    match run::replay(subject, &recorded)? {
        Outcome::Differs(difference)
            if difference.kind() == best.1.kind() && run::repeats(reference, &recorded, &difference)? =>
        {
            *best = (recorded, *difference);
            Ok(true)
        }
        _ => Ok(false),
    }
}
