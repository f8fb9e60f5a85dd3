//! `[[test]]`: what the author of a policy expects of it.

use fielato_qdisc::Item;
use fielato_qdisc::units::write_rate;
use jiff::Timestamp;
use serde::Serialize;

use super::{Judge, Outcome, Piece, Verdict};
use crate::config::{Expect, Test};
use crate::trace::{Case, QuestionError, Station, Step, Trace, Walk};
use crate::{Config, Plan};

/// One question of a test, answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// Place of the `[[test]]` among the file's, 1-based.
    pub number: usize,
    /// What people call it.
    pub name: Option<String>,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based.
    pub line: usize,
    /// Who sends.
    pub from: String,
    /// Where to.
    pub to: String,
    /// What is to happen.
    pub expect: Expect,
    /// What happens instead; none when the test passes.
    pub failure: Option<Failure>,
}

/// Why a test fails.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Failure {
    /// Something else happens.
    Verdict {
        /// What.
        found: Outcome,
        /// To this packet, and its answer.
        traces: Vec<Trace>,
    },
    /// It is held to another rate.
    Rate {
        /// In bytes per second; none when no class holds it.
        found: Option<u64>,
        /// In bytes per second.
        expected: u64,
        /// The packet.
        traces: Vec<Trace>,
    },
    /// The question has no sense.
    Question {
        /// Why.
        problem: String,
    },
}

impl Failure {
    /// What was expected, and what is so. `file` is how the configuration file is called.
    pub fn because(&self, expect: Expect, file: &str) -> String {
        match self {
            Failure::Verdict { found, .. } => {
                format!(
                    "expected {}, found {}: {}",
                    expected(expect),
                    found.verdict,
                    found.because(file)
                )
            }
            Failure::Rate { found, expected, .. } => {
                let found = found.map_or_else(|| "that nothing holds it".to_owned(), write_rate);
                format!("expected a rate of {}, found {found}", write_rate(*expected))
            }
            Failure::Question { problem } => problem.clone(),
        }
    }

    /// The packets that show it.
    pub fn traces(&self) -> &[Trace] {
        match self {
            Failure::Verdict { traces, .. } | Failure::Rate { traces, .. } => traces,
            Failure::Question { .. } => &[],
        }
    }
}

/// Answers every question of every `[[test]]`, along the whole way and back. `plan` is `config`'s at `now`; it may have more bans.
///
/// Of a service every port is asked about, and every test in both families, as far as its ends have them. Of a group, and of
/// `members`, whoever is a peer now is asked for, but not about itself; who is named alone is asked for in any case.
///
/// # Errors
/// [`QuestionError::Gateway`]: the plan makes no gateway.
pub fn test(config: &Config, plan: &Plan, now: Timestamp) -> Result<Vec<Checked>, QuestionError> {
    let mut tester = Tester {
        plan,
        config,
        judge: Judge::new(config, plan, now)?,
        shaped: Walk::new(config, plan, now)?,
    };
    let mut all = Vec::new();
    for (number, test) in (1..).zip(&config.tests) {
        for from in senders(config, plan, &test.from) {
            let of_many = !test.from.iter().any(|named| named == from);
            for to in &test.to {
                all.push(Checked {
                    number,
                    name: test.name.clone(),
                    file: test.file.clone(),
                    line: test.line,
                    failure: tester.failure(test, from, of_many, to),
                    from: from.to_owned(),
                    to: to.clone(),
                    expect: test.expect,
                });
            }
        }
    }
    Ok(all)
}

/// One by one.
fn senders<'a>(config: &'a Config, plan: &'a Plan, from: &'a [String]) -> Vec<&'a str> {
    let groups = config.group_contents();
    let peers = || plan.peers.iter().map(|peer| peer.name.as_str());
    let mut senders: Vec<&str> = Vec::new();
    for name in from {
        if name == "members" {
            senders.extend(peers());
        } else if let Some(group) = groups.get(name) {
            senders.extend(peers().filter(|peer| group.members.contains(peer)));
            senders.extend(group.hosts.iter().filter(|host| !group.members.contains(*host)));
        } else {
            senders.push(name);
        }
    }
    let mut known = std::collections::HashSet::new();
    senders.retain(|name| known.insert(*name));
    senders
}

struct Tester<'a> {
    config: &'a Config,
    plan: &'a Plan,
    judge: Judge<'a>,
    /// Tells stations and classes.
    shaped: Walk<'a>,
}

impl Tester<'_> {
    /// The first thing that is not as expected.
    fn failure(&mut self, test: &Test, from: &str, of_many: bool, to: &str) -> Option<Failure> {
        self.try_failure(test, from, of_many, to).unwrap_or_else(|error| {
            Some(Failure::Question {
                problem: error.to_string(),
            })
        })
    }

    fn try_failure(&mut self, test: &Test, from: &str, of_many: bool, to: &str) -> Result<Option<Failure>, QuestionError> {
        let mut asked = false;
        for Piece { question, .. } in self.judge.pieces(from, to, test.via.as_deref()) {
            let case = match Case::of(&question, self.config) {
                Ok(case) => case,
                Err(QuestionError::NoFamily { .. }) => continue,
                Err(error) => return Err(error),
            };
            asked = true;
            if of_many && self.judge.walk.is_its_own(from, case.destination) {
                continue;
            }
            let found = self.judge.judge(&case)?;
            if found.verdict != expected(test.expect) {
                let traces = self.traces(&case)?;
                return Ok(Some(Failure::Verdict { found, traces }));
            }
            if let Some(expected) = test.rate
                && found.verdict == Verdict::Accept
            {
                let traces = self.traces(&case)?;
                let found = traces.first().and_then(|trace| self.rate(&trace.stations));
                if found != Some(expected) {
                    return Ok(Some(Failure::Rate { found, expected, traces }));
                }
            }
        }
        match asked {
            true => Ok(None),
            false => Err(QuestionError::NoFamily {
                from: from.to_owned(),
                to: to.to_owned(),
                asked: None,
            }),
        }
    }

    fn traces(&mut self, case: &Case) -> Result<Vec<Trace>, QuestionError> {
        self.shaped.forget();
        self.shaped.there_and_back(case.sender.clone(), case.packet(0)?, true)
    }

    /// The rate of the innermost class that a packet waits in on the hub.
    fn rate(&self, stations: &[Station]) -> Option<u64> {
        let (interface, path) = stations.iter().rev().find_map(|station| match &station.step {
            Step::Queue { interface, path } => Some((interface, path)),
            _ => None,
        })?;
        let classes = self.plan.shaping.iter().filter_map(|shaping| match &shaping.item {
            Item::Class(class) if shaping.dev == *interface => Some((class.classid.to_string(), class.htb.rate)),
            _ => None,
        });
        let classes: Vec<(String, u64)> = classes.collect();
        let mut innermost = path.iter().rev();
        innermost.find_map(|handle| classes.iter().find(|(name, _)| name == handle).map(|(_, rate)| *rate))
    }
}

const fn expected(expect: Expect) -> Verdict {
    match expect {
        Expect::Accept => Verdict::Accept,
        Expect::Drop => Verdict::Drop,
        Expect::Reject => Verdict::Reject,
    }
}
