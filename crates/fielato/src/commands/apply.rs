//! `fielato apply`, `confirm`, `rollback`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use fielato_control::client;
use fielato_control::edit::HostKey;
use fielato_control::protocol::{Applied, Request, Response, RevisionReport, VERSION};
use fielato_control::revisions::Origin;
use fielato_control::watchdog::{self, Ended};
use fielato_control::{Paths, edit};
use jiff::SignedDuration;

use super::{in_force, run, session};
use crate::cli::{Apply, Rollback, Way};
use crate::output;

/// `fielato apply`
pub fn apply(paths: &Paths, args: Apply) -> Result<()> {
    let applied = request(paths, args.message, args.confirm, None, &args.way)?;
    warn(&applied);
    match args.json.json {
        true => output::json(&serde_json::json!({ "version": VERSION, "applied": applied })),
        false => {
            print!("{}", text(&applied));
            Ok(())
        }
    }
}

fn warn(applied: &Applied) {
    for warning in &applied.warnings {
        eprintln!("fielato: warning: {warning}");
    }
}

fn request(
    paths: &Paths,
    message: Option<String>,
    confirm: Option<SignedDuration>,
    rollback_of: Option<u64>,
    way: &Way,
) -> Result<Applied> {
    let seconds = confirm.map(|within| u64::try_from(within.as_secs()).unwrap_or(0).max(1));
    let request = Request::Apply {
        message,
        confirm: seconds,
        rollback_of,
        logins: session::logins(way.admin),
        force: way.force,
    };
    match client::request(paths, &request)? {
        Response::Applied(applied) => Ok(applied),
        _ => bail!("the daemon answered something else"),
    }
}

fn text(applied: &Applied) -> String {
    let parts = run::changed(&applied.changes);
    let changed = match parts.is_empty() {
        true => "nothing changed on the hub".to_owned(),
        false => parts.join("; "),
    };
    match (applied.revision, applied.is_new, applied.until) {
        (Some(revision), true, Some(until)) => format!(
            "revision {revision} is in force: {changed}\n\
             it is taken back at {} UTC, unless you say `fielato confirm` by then\n",
            until.strftime("%H:%M:%S")
        ),
        (Some(revision), true, None) => format!("revision {revision} is in force: {changed}\n"),
        (Some(revision), false, _) => format!("revision {revision} was in force already: {changed}\n"),
        (None, ..) => format!("{changed}\n"),
    }
}

/// `fielato confirm`
pub fn confirm(paths: &Paths) -> Result<()> {
    match client::request(paths, &Request::Confirm)? {
        Response::Confirmed { revision } => println!("revision {revision} stays"),
        _ => bail!("the daemon answered something else"),
    }
    Ok(())
}

/// `fielato rollback`
pub fn rollback(paths: &Paths, args: Rollback) -> Result<()> {
    let number = match args.revision {
        Some(number) => number,
        None => match client::request(paths, &Request::TakeBack)? {
            Response::TakenBack { revision, in_force } => {
                println!("revision {revision} is taken back; revision {in_force} is in force");
                println!("the file still has it: mend it, or `fielato rollback {in_force}` puts the file back as well");
                return Ok(());
            }
            Response::Done => {
                let current = report(paths, None)?;
                current
                    .before
                    .context("there is no revision before the one in force; see `fielato log`")?
            }
            _ => bail!("the daemon answered something else"),
        },
    };
    let mut earlier = report(paths, Some(number))?;
    let kept = edit::keep_keys(&mut earlier.files, &enrolled_since(paths, number)?)?;
    let before = edit::put_back(paths, &earlier.files)?;
    let message = args.message.or(Some(format!("back to revision {number}")));
    match request(paths, message, args.confirm, Some(number), &args.way) {
        Ok(applied) => {
            warn(&applied);
            print!("{}", text(&applied));
            let but = match kept.is_empty() {
                true => String::new(),
                false => format!(", with the keys of hosts that have enrolled since: {}", kept.join(", ")),
            };
            println!("the configuration file is that of revision {number}{but}");
            Ok(())
        }
        Err(error) => {
            let again = edit::put_back(paths, &before);
            again.with_context(|| format!("{error:#}; and then the configuration file could not be put back"))?;
            Err(error)
        }
    }
}

/// The hosts that enrolled after a revision, as they are known now.
fn enrolled_since(paths: &Paths, number: u64) -> Result<BTreeMap<String, HostKey>> {
    let Response::Revisions(revisions) = client::request(paths, &Request::Revisions { limit: usize::MAX })? else {
        bail!("the daemon answered something else")
    };
    // The host itself is the author of such a revision.
    let later = revisions
        .into_iter()
        .filter(|revision| revision.number > number && revision.origin == Origin::Enrol);
    let hosts: BTreeSet<String> = later.map(|revision| revision.author).collect();
    if hosts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let config = in_force::policy(paths)?;
    let mut members = config.map(|config| config.members).unwrap_or_default();
    let known = hosts.into_iter().filter_map(|host| {
        let member = members.remove(&host).filter(|member| !member.disabled)?;
        let key = HostKey {
            public_key: member.public_key,
            addresses: member.addresses,
        };
        Some((host, key))
    });
    Ok(known.collect())
}

/// A revision, as the daemon has it.
pub fn report(paths: &Paths, number: Option<u64>) -> Result<Box<RevisionReport>> {
    match client::request(paths, &Request::Revision { number })? {
        Response::Revision(report) => Ok(report),
        _ => bail!("the daemon answered something else"),
    }
}

/// `fielato watchdog WORDS`: waits at its standard input, and brings the hub up again when the daemon is gone.
pub fn watchdog(words: &[OsString]) -> Result<ExitCode> {
    match watchdog::watch(std::io::stdin().lock())? {
        Ended::Dismissed => Ok(ExitCode::SUCCESS),
        Ended::Alone => {
            eprintln!("fielato: the daemon is gone before the policy was confirmed; bringing the hub up with the one before");
            let program = std::env::current_exe().context("cannot find this program's own file")?;
            let status = Command::new(program).args(words).status().context("cannot start")?;
            Ok(ExitCode::from(
                status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            ))
        }
    }
}
