//! Answers, as data and in words.

use std::fmt;

use serde::Serialize;

use crate::config::PortSpec;
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
    /// Of a service on several hosts, which.
    pub host: Option<String>,
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

    pub(super) fn stopped(verdict: Verdict, at: Place, reason: Reason, answer: bool) -> Outcome {
        let by = match &reason {
            Reason::Rule { origin } => Some(origin.clone()),
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

    /// Where the rule that decides stands in the file: `27`, or `staff.toml:27` in an included one.
    pub fn line(&self) -> Option<String> {
        let (Origin::Rule { file, line, .. } | Origin::Publish { file, line, .. } | Origin::Raw { file, line, .. }) =
            self.by.as_ref()?
        else {
            return None;
        };
        Some(match file {
            Some(file) => format!("{file}:{line}"),
            None => line.to_string(),
        })
    }

    /// Why, in a few words. `file` is how the configuration file is called.
    pub fn because(&self, file: &str) -> String {
        let mut text = match (&self.reason, &self.by) {
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
    pub(super) fn push(ways: &mut Vec<Way>, version: IpVersion, host: Option<&str>, port: Option<PortSpec>, outcome: Outcome) {
        let is = |way: &&mut Way| (way.version, way.host.as_deref(), &way.outcome) == (version, host, &outcome);
        let same = ways.iter_mut().find(is);
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
                host: host.map(str::to_owned),
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
        let mut parts: Vec<(Vec<IpVersion>, &Way)> = Vec::new();
        for way in &self.ways {
            let same = parts
                .iter_mut()
                .find(|(_, known)| (&known.host, &known.ports, &known.outcome) == (&way.host, &way.ports, &way.outcome));
            match same {
                Some((versions, _)) => versions.push(way.version),
                None => parts.push((vec![way.version], way)),
            }
        }
        let worded = parts.into_iter().map(|(versions, way)| {
            let Way {
                host, ports, outcome, ..
            } = way;
            let host = host.iter().map(|host| format!("at {host}"));
            let ports = (!ports.is_empty()).then(|| ports.iter().map(port_text).collect::<Vec<_>>().join(" "));
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            let all: Vec<String> = host.chain(ports).chain([versions.join(" and ")]).collect();
            (all.join(", "), outcome)
        });
        worded.collect()
    }

    /// The lines of the file that decide, each once.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.ways.iter().filter_map(|way| way.outcome.line()) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
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
    let protocol = protocol.word();
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
