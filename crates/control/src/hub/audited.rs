//! What is asked of the hub, written into the audit log with what came of it.

use anyhow::Result;
use fielato_fleet::hub::{Event, Happening};
use jiff::Timestamp;

use super::Hub;
use crate::audit::{Entry, Outcome, Way, Who};
use crate::protocol::{Request, Response};

impl Hub {
    /// Answers a command. What changes something is in the audit log afterwards.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn handle_audited(&mut self, request: Request, who: Who, now: Timestamp) -> Result<Response> {
        let words = words(&request);
        let author = match &who {
            Who::User { name: Some(name), .. } => name.clone(),
            Who::User { uid, .. } => format!("user {uid}"),
            Who::Host(name) | Who::Member(name) => name.clone(),
            Who::Daemon => "the daemon".to_owned(),
        };
        let response = self.handle(request, &author, now);
        if let Some(request) = words {
            let result = match &response {
                Ok(response) => Outcome::Done(told(response)),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            self.kept.audit.record(&Entry {
                time: now,
                who,
                from: Way::Socket,
                request,
                result,
            });
        }
        response
    }

    /// Writes down that the hub is being stopped by command.
    pub(crate) fn note_stop(&mut self, who: Who, now: Timestamp) {
        self.kept.audit.record(&Entry {
            time: now,
            who,
            from: Way::Socket,
            request: "down".to_owned(),
            result: Outcome::Done(String::new()),
        });
    }

    /// Writes down what an agent of a protected host did, or tried to do; coming and going and doing as told is no news.
    pub(super) fn note_host(&mut self, event: &Event) {
        let Event {
            at,
            host,
            from,
            what,
            lost: _,
        } = event;
        let request = match what {
            Happening::Connected | Happening::Gone | Happening::Superseded | Happening::Enforced(_) => return,
            Happening::Enrolled => "agent enrol",
            Happening::Failed { .. } => "apply",
            Happening::Drift(_) => "drift",
            Happening::Refused(_) => "control channel",
        };
        let told = what.to_string();
        self.kept.audit.record(&Entry {
            time: *at,
            who: host.clone().map_or(Who::Daemon, Who::Host),
            from: Way::Overlay(*from),
            request: request.to_owned(),
            result: match what {
                Happening::Failed { .. } | Happening::Refused(_) => Outcome::Failed(told),
                _ => Outcome::Done(told),
            },
        });
    }

    /// Writes down what the clock or the daemon itself did.
    pub(super) fn note(&mut self, request: &str, result: Outcome, now: Timestamp) {
        self.kept.audit.record(&Entry {
            time: now,
            who: Who::Daemon,
            from: Way::Daemon,
            request: request.to_owned(),
            result,
        });
    }
}

/// The request in the words of the command line; none for what only looks.
fn words(request: &Request) -> Option<String> {
    let words = match request {
        Request::Status
        | Request::Bans
        | Request::Stop
        | Request::Top
        | Request::Shape
        | Request::Watch(_)
        | Request::Revisions { .. }
        | Request::Revision { .. }
        | Request::Grants
        | Request::Standing
        | Request::Usage { .. } => return None,
        Request::Reload => "reload".to_owned(),
        Request::Apply {
            message,
            confirm,
            rollback_of,
            logins: _,
            force,
        } => {
            let command = rollback_of.map_or("apply".to_owned(), |number| format!("rollback {number}"));
            let confirm = confirm.map(|seconds| format!(" --confirm {seconds}s")).unwrap_or_default();
            let message = message
                .as_ref()
                .map(|text| format!(" --message {text:?}"))
                .unwrap_or_default();
            let force = if *force { " --force" } else { "" };
            format!("{command}{confirm}{force}{message}")
        }
        Request::Confirm => "confirm".to_owned(),
        Request::TakeBack => "rollback".to_owned(),
        Request::Grant(grant) => {
            let reason = grant
                .reason
                .as_ref()
                .map(|text| format!(" --reason {text:?}"))
                .unwrap_or_default();
            format!("grant {} {} --until {}{reason}", grant.member, grant.service, grant.until)
        }
        Request::Revoke { member, service } => format!("revoke {member} {service}"),
        Request::Ban { network, until } => match until {
            Some(until) => format!("ban {network} --until {until}"),
            None => format!("ban {network}"),
        },
        Request::EnrolHost { host } => format!("host enrol {host}"),
        Request::Unban { network } => format!("unban {network}"),
        Request::Tc { words } => {
            let shows = words.iter().any(|word| matches!(word.as_str(), "show" | "list" | "ls"));
            return (!shows).then(|| format!("tc {}", words.join(" ")));
        }
    };
    Some(words)
}

fn told(response: &Response) -> String {
    match response {
        Response::Applied(applied) => match (applied.revision, applied.until) {
            (Some(revision), Some(until)) => format!("revision {revision}, to be confirmed until {until}"),
            (Some(revision), None) => format!("revision {revision}"),
            (None, _) => String::new(),
        },
        Response::Confirmed { revision } => format!("revision {revision}"),
        Response::TakenBack { revision, in_force } => format!("revision {revision} is undone, {in_force} in force"),
        Response::Revoked(false) | Response::Unbanned(false) => "there was none".to_owned(),
        _ => String::new(),
    }
}
