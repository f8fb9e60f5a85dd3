//! What `can` and `trace` say.

use std::collections::BTreeSet;
use std::fmt;

use fielato_policy::config::PortSpec;
use fielato_policy::gateway::Origin;
use fielato_policy::judge::{Answer, Judge, Outcome, Verdict, Way};
use fielato_policy::trace::{self, End, Place, Reason, Step, Trace};
use jiff::Timestamp;

use super::host::Hosts;
use super::question::Asked;
use crate::error::Error;
use crate::fact::is_counted;
use crate::scene::Scene;

/// What becomes of a connection, or is said to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Whether it comes about, and whether its sender is told when it does not.
    pub verdict: Verdict,
    /// Where its first packet arrives, or where a packet of it is stopped.
    pub at: Place,
    /// It is the answer that is stopped.
    pub answer: bool,
    /// Rules and bans that its first packet and the answer met, of those that are counted: machine, chain and comment.
    pub met: BTreeSet<String>,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verdict,
            at,
            answer,
            met,
        } = self;
        let answer = if *answer { " (the answer)" } else { "" };
        let met: Vec<&str> = met.iter().map(String::as_str).collect();
        write!(f, "{verdict} at {at}{answer}; met {}", met.join(", "))
    }
}

/// What trace says about the same packet, as the engines count it; the rule that decides; what stopped it, in a word.
pub struct Traced {
    /// In the engines' terms.
    pub fate: Fate,
    /// The rule that let it pass, or did not.
    pub by: Option<Origin>,
    /// Why it was stopped; nothing when it was not.
    pub reason: Option<Reason>,
    /// The packet's ends, as `ADDRESS ADDRESS PORT`.
    pub ends: String,
}

/// Asks `can` as the command does, and takes from its answer what is said about this packet.
///
/// # Errors
/// [`Error::Trace`] when the question is refused, or its answer does not say anything about the packet.
pub fn can(judge: &mut Judge<'_>, asked: &Asked) -> Result<Outcome, Error> {
    let answer = judge
        .ask(&asked.from, &asked.to)
        .map_err(|error| Error::Trace(error.to_string()))?;
    let way = way(&answer, asked).ok_or_else(|| Error::Trace(format!("can says nothing of {asked:?}: {answer:?}")))?;
    Ok(way.outcome.clone())
}

fn way<'a>(answer: &'a Answer, asked: &Asked) -> Option<&'a Way> {
    let holds = |spec: &PortSpec| {
        asked
            .port
            .is_some_and(|(protocol, port)| spec.protocol == protocol && (spec.first..=spec.last).contains(&port))
    };
    let mut ways = answer.ways.iter();
    ways.find(|way| {
        way.version == asked.version
            && way.host.as_ref().is_none_or(|host| *host == asked.machine)
            && (way.ports.is_empty() || way.ports.iter().any(holds))
    })
}

/// Asks `trace` about this packet and its answer, as the command does.
///
/// # Errors
/// [`Error::Trace`] when the question is refused.
pub fn traced(scene: &Scene, hosts: &mut Hosts, now: Timestamp, asked: &Asked) -> Result<Traced, Error> {
    let traces = trace::trace(&scene.config, &scene.plan, now, &asked.single());
    let traces = traces.map_err(|error| Error::Trace(error.to_string()))?;
    let (Some(first), last) = (traces.first(), traces.last()) else {
        return Err(Error::Trace(format!("no trace of {asked:?}")));
    };
    let mut met = BTreeSet::new();
    for trace in &traces {
        met.extend(counted(scene, hosts, trace)?);
    }
    let stopped = last.and_then(|trace| match &trace.end {
        End::Stopped { at, reason, .. } => Some((trace, at, reason)),
        End::Arrived { .. } => None,
    });
    let packet = &first.packet;
    let ends = format!("{} {} {:?}", packet.source, packet.destination, packet.destination_port);
    Ok(match (stopped, &first.end) {
        (Some((trace, at, reason)), _) => Traced {
            fate: Fate {
                verdict: if is_told(trace, reason) {
                    Verdict::Reject
                } else {
                    Verdict::Drop
                },
                at: at.clone(),
                answer: traces.len() > 1,
                met,
            },
            by: match reason {
                Reason::Rule { origin } => Some(origin.clone()),
                _ => None,
            },
            reason: Some(reason.clone()),
            ends,
        },
        (None, End::Stopped { at, .. } | End::Arrived { at, .. }) => Traced {
            fate: Fate {
                verdict: Verdict::Accept,
                at: at.clone(),
                answer: false,
                met,
            },
            by: decided(first),
            reason: None,
            ends,
        },
    })
}

/// Whether the sender is told by the rule that stopped it, and hears it.
fn is_told(trace: &Trace, reason: &Reason) -> bool {
    let told = |step: &Step| matches!(step, Step::Tell { lost: None, .. });
    matches!(reason, Reason::Rule { .. }) && trace.stations.iter().any(|station| told(&station.step))
}

/// The last rule met that judges.
fn decided(trace: &Trace) -> Option<Origin> {
    trace.stations.iter().rev().find_map(|station| match &station.step {
        Step::Table {
            table, chain, origin, ..
        } if table == "filter" && chain != "OUTPUT" => origin.clone(),
        _ => None,
    })
}

/// The rules and bans that a packet met, by the names under which they are counted.
fn counted(scene: &Scene, hosts: &mut Hosts, trace: &Trace) -> Result<BTreeSet<String>, Error> {
    let mut met = BTreeSet::new();
    for station in &trace.stations {
        match &station.step {
            Step::Guard { ban: Some(network), .. } => drop(met.insert(format!("hub ban {network}"))),
            Step::Table {
                table,
                chain,
                origin: Some(origin),
                ..
            } if table == "filter" => met.extend(counted_as(scene, hosts, &station.place, chain, origin)?),
            // A host's rejection goes through the hub.
            Step::Tell {
                lost: Some((Place::Hub, lost)),
                ..
            } => match lost {
                Reason::Banned { network } => drop(met.insert(format!("hub ban {network}"))),
                Reason::Rule { origin } => met.extend(counted_as(scene, hosts, &Place::Hub, "FORWARD", origin)?),
                _ => {}
            },
            _ => {}
        }
    }
    Ok(met)
}

/// The name under which the packets of a rule are counted; nothing when they are not.
///
/// # Errors
/// When the host that has the rule can't be made.
pub fn counted_as(scene: &Scene, hosts: &mut Hosts, at: &Place, chain: &str, origin: &Origin) -> Result<Option<String>, Error> {
    let chain = chain.to_lowercase();
    Ok(match at {
        Place::Hub => is_counted(origin).then(|| format!("hub {}", scene.tally(&chain, &origin.comment()))),
        Place::Member(name) | Place::Host(name) => match origin {
            Origin::Established | Origin::Loopback | Origin::NotOurs => None,
            origin => {
                let machine = hosts.machine(scene, name)?;
                machine.map(|machine| format!("{name} {}", machine.tally(&chain, &origin.comment())))
            }
        },
        Place::Outside => None,
    })
}
