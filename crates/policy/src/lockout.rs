//! Whether a plan would cut off who applies it, or the agents of protected hosts.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use crate::analyse::{About, Finding, Kind, Severity};
use crate::judge::{Judge, Outcome, Verdict};
use crate::trace::{Question, QuestionError, Sender};
use crate::{Config, Plan};

mod logins;

pub use logins::{Login, Logins, SSH};

/// A TCP connection that must not break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub whose: Whose,
    /// The other end's address.
    pub peer: IpAddr,
    /// The hub's end.
    pub hub: SocketAddr,
}

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of who runs the command.
    Admin,
    /// Somebody's who is logged in.
    Login {
        /// Of who runs the command it is not known over what he is logged in.
        may_be_own: bool,
    },
    /// That of a protected host's agent.
    Agent(String),
}

impl Session {
    /// The connections of the agents of protected hosts to the control port at the hub's overlay addresses.
    pub fn of_agents(config: &Config) -> Vec<Session> {
        let port = config.hub.control_port;
        let hosts = config.hosts.iter().filter(|(_, host)| host.agent);
        let hosts = hosts.filter_map(|(name, _)| Some((name, config.members.get(name)?)));
        let active = hosts.filter(|(_, member)| !member.disabled);
        let sessions = active.flat_map(|(name, member)| {
            let to = |peer: &IpAddr| {
                let mut own = config.hub.addresses.iter().map(|net| net.addr());
                own.find(|own| own.is_ipv4() == peer.is_ipv4())
            };
            let ends = member.addresses.iter().filter_map(move |peer| Some((*peer, to(peer)?)));
            ends.map(|(peer, own)| Session {
                whose: Whose::Agent(name.clone()),
                peer,
                hub: SocketAddr::new(own, port),
            })
        });
        sessions.collect()
    }

    fn name(&self, config: &Config) -> String {
        let who = match &self.whose {
            Whose::Admin => "your own session".to_owned(),
            Whose::Login { may_be_own } => {
                let of = match crate::trace::whose(self.peer, config) {
                    Sender::Member(name) => format!("a login of member {name}"),
                    Sender::Hub | Sender::Outside(_) => "a login".to_owned(),
                };
                format!("{of}{}", if *may_be_own { ", which may be yours" } else { "" })
            }
            Whose::Agent(host) => format!("the agent of host {host}"),
        };
        format!("{who}, from {} to port {}", self.peer, self.hub.port())
    }

    const fn severity(&self) -> Severity {
        match self.whose {
            Whose::Admin | Whose::Login { may_be_own: true } | Whose::Agent(_) => Severity::Refused,
            Whose::Login { may_be_own: false } => Severity::Warning,
        }
    }

    fn help(&self) -> String {
        match self.whose {
            Whose::Admin => "let yourself in by a rule, or come another way; `--force` does it all the same",
            Whose::Login { may_be_own: true } => {
                "let it in by a rule, or say by `--admin ADDRESS` where you come from; `--force` does it all the same"
            }
            Whose::Login { may_be_own: false } => "tell whoever it is, or let it in by a rule",
            Whose::Agent(_) => "let the host stay a member, or take its `agent` out; `--force` does it all the same",
        }
        .to_owned()
    }
}

/// What `new` would cut of these sessions, each judged as a new connection, there and back. `old` is what is in force, if anything is.
///
/// What an agent could not do before is not held against the new plan, nor is a connection that was cut before and does not know it yet;
/// the session of who runs the command is there, whatever the old plan says of it.
///
/// # Errors
/// A plan makes no gateway.
pub fn lockout(
    old: Option<(&Config, &Plan)>,
    new: (&Config, &Plan),
    sessions: &[Session],
    now: Timestamp,
) -> Result<Vec<Finding>, QuestionError> {
    let mut findings = Vec::new();
    for session in sessions {
        // A host that shall have no agent any more is not cut off by mistake.
        if let Whose::Agent(host) = &session.whose
            && !new.0.hosts.get(host).is_some_and(|host| host.agent)
        {
            continue;
        }
        let Some(why) = cut(old, new, session, now)? else { continue };
        if let (Whose::Agent(_) | Whose::Login { .. }, Some((config, plan))) = (&session.whose, old)
            && stopped(config, plan, session, now)?.is_some()
        {
            continue;
        }
        findings.push(Finding {
            kind: Kind::LockOut,
            severity: session.severity(),
            about: match &session.whose {
                Whose::Admin | Whose::Login { .. } => About::Policy,
                Whose::Agent(host) => About::Host(host.clone()),
            },
            message: format!(
                "this would cut {}: {why}",
                session.name(old.map_or(new.0, |(config, _)| config))
            ),
            help: session.help(),
        });
    }
    Ok(findings)
}

/// Why a session would end.
fn cut(
    old: Option<(&Config, &Plan)>,
    (config, plan): (&Config, &Plan),
    session: &Session,
    now: Timestamp,
) -> Result<Option<String>, QuestionError> {
    let own = session.hub.ip();
    let had = |plan: &Plan| plan.addresses.iter().any(|net| net.addr() == own);
    let in_overlay = |plan: &Plan| plan.addresses.iter().any(|net| net.contains(&own));
    if let Some((_, old)) = old
        && had(old)
        && !had(plan)
    {
        return Ok(Some(format!("{own} would no longer be the hub's address")));
    }
    // It ends at that address, so it is the machine's, unless it was the overlay's and the overlay has moved.
    if in_overlay(plan) && !had(plan) {
        return Ok(Some(format!("{own} is not the hub's address in the overlay")));
    }
    if let Some((old_config, old)) = old
        && let Sender::Member(name) = crate::trace::whose(session.peer, old_config)
    {
        let key = |plan: &Plan| plan.peers.iter().find(|peer| peer.name == name).map(|peer| peer.public_key);
        if let (Some(before), Some(after)) = (key(old), key(plan))
            && before != after
        {
            return Ok(Some(format!("the key of member {name} changes")));
        }
        if old.listen_port != plan.listen_port {
            let (before, after) = (old.listen_port, plan.listen_port);
            return Ok(Some(format!(
                "the hub listens on port {after} instead of {before}, and {name} does not know"
            )));
        }
        if let Sender::Outside(_) = crate::trace::whose(session.peer, config) {
            return Ok(Some(format!("member {name} has that address no longer")));
        }
    }
    stopped(config, plan, session, now)
}

/// Why the plan stops a session's first packet or the answer.
fn stopped(config: &Config, plan: &Plan, session: &Session, now: Timestamp) -> Result<Option<String>, QuestionError> {
    let own = session.hub.ip();
    let mut judge = Judge::on_machine(config, plan, now, &[own])?;
    let to = match own {
        IpAddr::V4(own) => format!("{own}:{}/tcp", session.hub.port()),
        IpAddr::V6(own) => format!("[{own}]:{}/tcp", session.hub.port()),
    };
    let outcome = match judge.outcome(&Question::new(session.peer.to_string(), to)) {
        Ok(outcome) => outcome,
        Err(QuestionError::NobodysAddress { address, .. }) => return Ok(Some(format!("no member has {address}"))),
        // A login by another machine's address cannot be judged here.
        Err(QuestionError::NoFamily { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((outcome.verdict != Verdict::Accept).then(|| why(&outcome)))
}

fn why(outcome: &Outcome) -> String {
    outcome.because("the file")
}
