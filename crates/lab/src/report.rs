//! What was claimed, what was measured, and whether they agree: as data, and as lines for a person, while it happens.

use std::fmt;
use std::io::Write;

use anyhow::Result;
use fielato_kernel::netns;
use serde::Serialize;

use crate::gateway::Engine;
use crate::lab::TemporaryLab;

/// Version of the JSON.
const VERSION: u32 = 1;

/// A whole scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Format.
    pub version: u32,
    /// The hub's engine.
    pub engine: Engine,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed.
    pub failed: usize,
    /// Checks that could not be made here.
    pub skipped: usize,
    /// Files that were left for the user.
    pub kept: Vec<String>,
}

/// One part of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// From 1 on.
    pub number: usize,
    /// In a word or two.
    pub title: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// What was measured.
    pub checks: Vec<Check>,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was done or looked at.
    pub what: String,
    /// What should be found.
    pub expected: String,
    /// What was found.
    pub measured: String,
    /// Whether they agree.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// Not made.
    Skipped {
        /// Why it can't be made here.
        reason: String,
    },
}

impl Report {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            version: VERSION,
            engine,
            steps: Vec::new(),
            passed: 0,
            failed: 0,
            skipped: 0,
            kept: Vec::new(),
        }
    }

    /// Whether nothing failed, and something passed.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(formatter, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Takes down checks, and tells them at once.
pub(crate) struct Recorder<'a> {
    out: Option<&'a mut dyn Write>,
    colours: bool,
    report: Report,
}

impl<'a> Recorder<'a> {
    /// Tells nothing when `out` is `None`.
    pub(crate) fn new(out: Option<&'a mut dyn Write>, colours: bool, engine: Engine) -> Self {
        Self {
            out,
            colours,
            report: Report::new(engine),
        }
    }

    pub(crate) fn begin(&mut self, number: usize, title: &'static str, claim: &'static str) -> Result<()> {
        self.report.steps.push(Step {
            number,
            title,
            claim,
            checks: Vec::new(),
        });
        let head = self.paint("1", &format!("{number}. {title}"));
        self.say(&format!("\n{head}\n   {claim}"))
    }

    /// A line that is no check: what is being done, or found on the way.
    pub(crate) fn note(&mut self, text: &str) -> Result<()> {
        let text = self.paint("2", text);
        self.say(&format!("     {text}"))
    }

    /// A measurement, and whether it is as expected.
    pub(crate) fn check(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        measured: impl Into<String>,
        passed: bool,
    ) -> Result<()> {
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        self.push(Check {
            what: what.into(),
            expected: expected.into(),
            measured: measured.into(),
            outcome,
        })
    }

    /// A measurement that can't be made here.
    pub(crate) fn skip(&mut self, what: impl Into<String>, expected: impl Into<String>, reason: impl Into<String>) -> Result<()> {
        let outcome = Outcome::Skipped { reason: reason.into() };
        self.push(Check {
            what: what.into(),
            expected: expected.into(),
            measured: String::new(),
            outcome,
        })
    }

    /// The last check: removes the machines, and looks for what is left of them.
    pub(crate) fn lab_down(&mut self, lab: TemporaryLab) -> Result<()> {
        let name = lab.name().to_owned();
        let directory = lab.directory().to_owned();
        let result = lab.down();
        let mut left: Vec<String> = netns::list()?.into_iter().filter(|other| other.starts_with(&name)).collect();
        if directory.exists() {
            left.push(directory.display().to_string());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        left.extend(mounts.lines().filter(|line| line.contains(&name)).map(str::to_owned));
        let measured = match (&result, left.as_slice()) {
            (Ok(()), []) => "gone, with their processes, mounts and files".to_owned(),
            (Ok(()), left) => left.join("\n"),
            (Err(error), _) => format!("{error:#}"),
        };
        self.check("the machines themselves", "gone", measured, result.is_ok() && left.is_empty())
    }

    pub(crate) fn keep(&mut self, file: String) {
        self.report.kept.push(file);
    }

    /// The last line, and the data.
    pub(crate) fn finish(mut self) -> Result<Report> {
        let closing = self.report.to_string();
        self.say(&format!("\n{closing}"))?;
        Ok(self.report)
    }

    fn push(&mut self, check: Check) -> Result<()> {
        let (mark, count) = match check.outcome {
            Outcome::Passed => (self.paint("32", "✓"), &mut self.report.passed),
            Outcome::Failed => (self.paint("1;31", "✗"), &mut self.report.failed),
            Outcome::Skipped { .. } => (self.paint("33", "–"), &mut self.report.skipped),
        };
        *count += 1;
        let line = match &check.outcome {
            Outcome::Passed => format!("   {mark} {}: {}", check.what, indent(&check.measured)),
            Outcome::Failed => {
                format!(
                    "   {mark} {}\n       expected {}\n       measured {}",
                    check.what,
                    check.expected,
                    indent(&check.measured)
                )
            }
            Outcome::Skipped { reason } => format!("   {mark} {}: skipped: {}", check.what, indent(reason)),
        };
        if let Some(step) = self.report.steps.last_mut() {
            step.checks.push(check);
        }
        self.say(&line)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        if let Some(out) = &mut self.out {
            writeln!(out, "{text}")?;
            out.flush()?;
        }
        Ok(())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Further lines of a text, below the first.
fn indent(text: &str) -> String {
    text.trim().replace('\n', "\n         ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(colours: bool) -> (String, Report) {
        let mut out = Vec::new();
        let mut recorder = Recorder::new(Some(&mut out), colours, Engine::Kernel);
        recorder.begin(1, "Tunnel", "It works.").unwrap();
        recorder.check("ping", "3 answers", "3 answers", true).unwrap();
        recorder.check("pong", "3 answers", "2 answers", false).unwrap();
        recorder.skip("netem", "500 ms", "no sch_netem").unwrap();
        let report = recorder.finish().unwrap();
        (String::from_utf8(out).unwrap(), report)
    }

    #[test]
    fn lines_for_a_person() {
        let (text, report) = told(false);
        assert!(text.contains("✓ ping: 3 answers\n"), "{text}");
        assert!(
            text.contains("✗ pong\n       expected 3 answers\n       measured 2 answers\n"),
            "{text}"
        );
        assert!(text.contains("– netem: skipped: no sch_netem\n"), "{text}");
        assert!(text.ends_with("\n1 passed, 1 failed, 1 skipped\n"), "{text}");
        assert!(!text.contains('\x1b'));
        assert!(!report.is_good());
        assert!(told(true).0.contains("\x1b[32m✓\x1b[0m"));
    }

    #[test]
    fn json() {
        let json = serde_json::to_value(told(false).1).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["steps"][0]["checks"][0]["outcome"], "passed");
        assert_eq!(json["steps"][0]["checks"][1]["measured"], "2 answers");
        assert_eq!(json["steps"][0]["checks"][2]["outcome"], "skipped");
        assert_eq!(json["steps"][0]["checks"][2]["reason"], "no sch_netem");
        assert_eq!(json["failed"], 1);
    }

    #[test]
    fn nothing_measured_is_not_good() {
        assert!(!Report::new(Engine::Kernel).is_good());
    }
}
