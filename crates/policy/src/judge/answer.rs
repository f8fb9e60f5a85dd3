//! Answers, as data and in words.

use std::fmt;

use serde::Serialize;

use crate::config::{PortSpec, Protocol};
use crate::gateway::Origin;
use crate::trace::{IpVersion, Place, Reason, why};

/// Whether something is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// At every port, in every family that both ends have.
    Yes,
    /// Not everywhere.
    Partly,
    /// Nowhere.
    No,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It comes about.
    Accept,
    /// Nobody is told why it does not.
    Drop,
    /// The sender is told.
    Reject,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// In a word.
    pub reach: Reach,
    /// In detail: what has the same outcome is one way.
    pub ways: Vec<Way>,
}

/// Ports that have the same outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// IPv4 or IPv6.
    pub version: IpVersion,
    /// Which ports of the service; none: what was asked for.
    #[serde(serialize_with = "ports")]
    pub ports: Vec<PortSpec>,
    /// What happens there.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What happens to a connection, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What happens.
    pub verdict: Verdict,
    /// Where it arrives or is stopped.
    pub at: Place,
    /// What the rule that decides was made from; none when no rule does.
    pub by: Option<Origin>,
    /// Why it is stopped.
    pub reason: Option<Reason>,
    /// It is the answer that is stopped.
    pub answer: bool,
}

impl Outcome {
    pub(super) const fn accepted(at: Place, by: Option<Origin>) -> Outcome {
        Outcome {
            verdict: Verdict::Accept,
            at,
            by,
            reason: None,
            answer: false,
        }
    }

    pub(super) const fn stopped(verdict: Verdict, at: Place, reason: Reason, answer: bool) -> Outcome {
        let by = match &reason {
            Reason::Rule { origin } => Some(*origin),
            _ => None,
        };
        Outcome {
            verdict,
            at,
            by,
            reason: Some(reason),
            answer,
        }
    }

    /// The rule of the file that decides: its number and line.
    pub const fn rule(&self) -> Option<(usize, usize)> {
        match self.by {
            Some(Origin::Rule { number, line }) => Some((number, line)),
            _ => None,
        }
    }

    /// Why, in a few words. `file` is how the configuration file is called.
    pub fn because(&self, file: &str) -> String {
        let mut text = match (&self.reason, self.by) {
            (Some(reason), _) => why(reason, file),
            (None, Some(Origin::NotOurs)) => "what comes from elsewhere than the VPN is not judged here".to_owned(),
            (None, Some(origin)) => crate::trace::named(origin, file),
            (None, None) => "nothing judges it".to_owned(),
        };
        if self.verdict != Verdict::Accept && !matches!(self.at, Place::Hub) {
            text = format!("{text}, at {}", self.at);
        }
        if self.answer {
            text.push_str("; it is the answer that is stopped");
        }
        text
    }
}

impl Way {
    /// Adds a piece of the question; to the way before where that has the same outcome.
    pub(super) fn push(ways: &mut Vec<Way>, version: IpVersion, port: Option<PortSpec>, outcome: Outcome) {
        let same = ways.iter_mut().find(|way| way.version == version && way.outcome == outcome);
        match (same, port) {
            (Some(way), Some(port)) => match way.ports.last_mut() {
                Some(last) if last.protocol == port.protocol && last.last.checked_add(1) == Some(port.first) => {
                    last.last = port.last;
                }
                _ => way.ports.push(port),
            },
            (Some(_), None) => {}
            (None, port) => ways.push(Way {
                version,
                ports: port.into_iter().collect(),
                outcome,
            }),
        }
    }
}

impl Answer {
    pub(super) fn new(ways: Vec<Way>) -> Answer {
        let accepts = |way: &Way| way.outcome.verdict == Verdict::Accept;
        let reach = match (ways.iter().any(accepts), ways.iter().all(accepts)) {
            (_, true) => Reach::Yes,
            (true, false) => Reach::Partly,
            (false, false) => Reach::No,
        };
        Answer { reach, ways }
    }

    /// The ways as one can say them: those of both families that end alike are one.
    pub fn parts(&self) -> Vec<(String, &Outcome)> {
        let mut parts: Vec<(Vec<IpVersion>, &[PortSpec], &Outcome)> = Vec::new();
        for way in &self.ways {
            let same = parts
                .iter_mut()
                .find(|(_, ports, outcome)| *ports == way.ports && **outcome == way.outcome);
            match same {
                Some((versions, ..)) => versions.push(way.version),
                None => parts.push((vec![way.version], &way.ports, &way.outcome)),
            }
        }
        let worded = parts.into_iter().map(|(versions, ports, outcome)| {
            let ports: Vec<String> = ports.iter().map(port_text).collect();
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            let versions = versions.join(" and ");
            let text = match ports.is_empty() {
                true => versions,
                false => format!("{}, {versions}", ports.join(" ")),
            };
            (text, outcome)
        });
        worded.collect()
    }

    /// The lines of the file that decide, each once, in order.
    pub fn lines(&self) -> Vec<usize> {
        let lines = self.ways.iter().filter_map(|way| way.outcome.rule());
        let lines: std::collections::BTreeSet<usize> = lines.map(|(_, line)| line).collect();
        lines.into_iter().collect()
    }
}

/// Members and services.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// The columns.
    pub services: Vec<String>,
    /// Members with an answer for each service; none where the ends have no common family.
    pub rows: Vec<(String, Vec<Option<Answer>>)>,
}

/// `tcp/80`, `udp/5000-5010`, as the file has them.
fn port_text(port: &PortSpec) -> String {
    let PortSpec { protocol, first, last } = port;
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    if first == last {
        format!("{protocol}/{first}")
    } else {
        format!("{protocol}/{first}-{last}")
    }
}

fn ports<S: serde::Serializer>(ports: &[PortSpec], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ports.iter().map(port_text))
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reach::Yes => "yes",
            Reach::Partly => "partly",
            Reach::No => "no",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
            Verdict::Reject => "reject",
        })
    }
}
