//! Who reaches what: asked of the gateway itself, along the whole way and back, for every port and both families.

mod answer;
mod cuts;
mod expectation;

pub use answer::{Answer, Matrix, Outcome, Reach, Verdict, Way};
pub use expectation::{Checked, Failure, test};

use std::net::IpAddr;

use jiff::Timestamp;

use crate::config::PortSpec;
use crate::gateway::Origin;
use crate::trace::{Case, Gone, IpVersion, Question, QuestionError, Reason, Role, Station, Step, Walk, answer as reply};
use crate::{Config, Plan};

use cuts::Cuts;

/// Answers questions about one plan, one after the other; each as if it were the first.
pub struct Judge<'a> {
    config: &'a Config,
    walk: Walk<'a>,
    cuts: Cuts,
}

impl<'a> Judge<'a> {
    /// `plan` is `config`'s at `now`; it may have more bans.
    ///
    /// # Errors
    /// [`QuestionError::Gateway`]: the plan makes no gateway.
    pub fn new(config: &'a Config, plan: &'a Plan, now: Timestamp) -> Result<Judge<'a>, QuestionError> {
        Ok(Judge {
            config,
            walk: Walk::unshaped(config, plan, now)?,
            cuts: Cuts::of(config, plan),
        })
    }

    /// The same on a machine that is known to have these addresses too.
    ///
    /// # Errors
    /// As [`Judge::new`].
    pub fn on_machine(config: &'a Config, plan: &'a Plan, now: Timestamp, own: &[IpAddr]) -> Result<Judge<'a>, QuestionError> {
        Ok(Judge {
            config,
            walk: Walk::on_machine(config, plan, now, own)?,
            cuts: Cuts::of(config, plan),
        })
    }

    /// What becomes of the connection that one packet begins.
    ///
    /// # Errors
    /// The question has no sense with this configuration.
    pub fn outcome(&mut self, question: &Question) -> Result<Outcome, QuestionError> {
        let case = Case::of(question, self.config)?;
        self.judge(&case)
    }

    /// Whether connections from `from` to `to` come about, both named as in a [`Question`]. A service is asked for with all its
    /// ports, unless one is said; what has no port is pinged.
    ///
    /// # Errors
    /// The question has no sense with this configuration.
    pub fn ask(&mut self, from: &str, to: &str) -> Result<Answer, QuestionError> {
        let mut ways: Vec<Way> = Vec::new();
        for Piece { host, port, question } in self.pieces(from, to, None) {
            let case = match Case::of(&question, self.config) {
                Ok(case) => case,
                Err(QuestionError::NoFamily { .. }) => continue,
                Err(error) => return Err(error),
            };
            let outcome = self.judge(&case)?;
            let version = question.version.unwrap_or(IpVersion::V4);
            Way::push(&mut ways, version, host.as_deref(), port, outcome);
        }
        if ways.is_empty() {
            return Err(QuestionError::NoFamily {
                from: from.to_owned(),
                to: to.to_owned(),
                asked: None,
            });
        }
        Ok(Answer::new(ways))
    }

    /// Everything that a question asks for: each family, of a service each host and each range of ports that may be judged
    /// differently.
    fn pieces(&self, from: &str, to: &str, via: Option<&str>) -> Vec<Piece> {
        let service = self.config.services.get(to);
        let places: Vec<(Option<&str>, &str)> = match service.map_or(&[][..], |service| &service.hosts) {
            [] | [_] => vec![(None, to)],
            several => several.iter().map(|host| (Some(host.as_str()), host.as_str())).collect(),
        };
        let ports: Vec<Option<PortSpec>> = match service {
            Some(service) => self.cuts.pieces(&service.ports).into_iter().map(Some).collect(),
            None => vec![None],
        };
        let mut pieces = Vec::new();
        for (host, place) in places {
            for version in [IpVersion::V4, IpVersion::V6] {
                pieces.extend(ports.iter().map(|port| Piece {
                    host: host.map(str::to_owned),
                    port: *port,
                    question: Question {
                        version: Some(version),
                        by: via.map(str::to_owned),
                        ..Question::new(from, spelled(place, *port))
                    },
                }));
            }
        }
        pieces
    }

    /// What every member reaches of every service.
    ///
    /// # Errors
    /// [`QuestionError::Gateway`]: a host's rules can't be run.
    pub fn matrix(&mut self) -> Result<Matrix, QuestionError> {
        let config = self.config;
        let services: Vec<String> = config.services.keys().cloned().collect();
        let mut rows = Vec::with_capacity(config.members.len());
        for member in config.members.keys() {
            rows.push((member.clone(), self.row(member, &services)?));
        }
        Ok(Matrix { services, rows })
    }

    /// What every member reaches of one service, a host, a member, `hub`, `internet` or an address.
    ///
    /// # Errors
    /// The question has no sense with this configuration.
    pub fn who(&mut self, to: &str) -> Result<Vec<(String, Option<Answer>)>, QuestionError> {
        // Nonsense is told even where there are no members.
        let asked = Case::of(&Question::new("hub", to), self.config);
        if let Err(error) = asked
            && !matches!(error, QuestionError::NoFamily { .. })
        {
            return Err(error);
        }
        let mut rows = Vec::new();
        for member in self.config.members.keys() {
            rows.push((member.clone(), self.possible(member, to)?));
        }
        Ok(rows)
    }

    fn row(&mut self, member: &str, services: &[String]) -> Result<Vec<Option<Answer>>, QuestionError> {
        services.iter().map(|service| self.possible(member, service)).collect()
    }

    /// `None` where the ends have no common family.
    fn possible(&mut self, from: &str, to: &str) -> Result<Option<Answer>, QuestionError> {
        match self.ask(from, to) {
            Ok(answer) => Ok(Some(answer)),
            Err(QuestionError::NoFamily { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One connection's first packet, and its answer.
    fn judge(&mut self, case: &Case) -> Result<Outcome, QuestionError> {
        self.walk.forget();
        let packet = case.packet(0)?;
        let (journey, gone) = self.walk.travel(Role::Asked, case.sender.clone(), packet)?;
        let by = decided(&journey.stations);
        let place = match gone {
            Gone::Stopped(at, reason) => {
                let verdict = stopped(&journey.stations, &reason);
                return Ok(Outcome::stopped(verdict, at, reason, false));
            }
            Gone::Arrived(place) => place,
        };
        if let Some(answer) = reply(&journey.bytes) {
            let from = self.walk.who_answers(&place, &answer);
            let (back, gone) = self.walk.travel(Role::Answer, from, answer)?;
            if let Gone::Stopped(at, reason) = gone {
                let verdict = stopped(&back.stations, &reason);
                return Ok(Outcome::stopped(verdict, at, reason, true));
            }
        }
        Ok(Outcome::accepted(place, by))
    }
}

/// A question about one packet, which stands for all ports of a range.
struct Piece {
    /// Of a service on several hosts, which.
    host: Option<String>,
    port: Option<PortSpec>,
    question: Question,
}

/// As [`Question::to`] takes it.
fn spelled(to: &str, port: Option<PortSpec>) -> String {
    match port {
        Some(PortSpec {
            protocol,
            first,
            last: _,
        }) => format!("{to}:{first}/{}", protocol.word()),
        None => to.to_owned(),
    }
}

/// The last rule that a packet met on the hub, or on a host that judges by itself: it let it pass. Those that translate it judge nothing, nor
/// does the hub judge what it sends itself.
fn decided(stations: &[Station]) -> Option<Origin> {
    stations.iter().rev().find_map(|station| match &station.step {
        Step::Table {
            table, chain, origin, ..
        } if table == "filter" && chain != "OUTPUT" => origin.clone(),
        _ => None,
    })
}

/// Dropped in silence, or told.
fn stopped(stations: &[Station], reason: &Reason) -> Verdict {
    let told = matches!(reason, Reason::Rule { .. })
        && stations
            .iter()
            .any(|station| matches!(&station.step, Step::Tell { lost: None, .. }));
    if told { Verdict::Reject } else { Verdict::Drop }
}
