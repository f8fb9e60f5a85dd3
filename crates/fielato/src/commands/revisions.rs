//! `fielato log`, `show`.

use anyhow::{Result, bail};
use fielato_control::Paths;
use fielato_control::protocol::{Request, Response, VERSION};
use fielato_control::revisions::{Origin, Revision, State};
use jiff::Timestamp;

use crate::cli::{Log, Show};
use crate::output::{self, ago, from_now, table};

/// `fielato log`
pub fn log(paths: &Paths, args: &Log) -> Result<()> {
    let request = Request::Revisions { limit: args.limit };
    let answer = super::ask(paths, &request)?;
    let Response::Revisions(revisions) = answer.response else {
        bail!("the daemon answered something else")
    };
    if args.json.json {
        return output::json(&serde_json::json!({ "version": VERSION, "revisions": revisions }));
    }
    let now = Timestamp::now();
    let in_force = revisions
        .iter()
        .find(|revision| !matches!(revision.state, State::RolledBack(_)));
    let in_force = in_force.map(|revision| revision.number);
    let state = |revision: &Revision| match answer.is_running {
        true => state(revision, in_force, now),
        false => stored_state(revision, in_force),
    };
    let rows: Vec<Vec<String>> = revisions
        .iter()
        .map(|revision| {
            vec![
                revision.number.to_string(),
                ago(revision.time, now),
                revision.author.clone(),
                origin(revision.origin),
                state(revision),
                revision.message.clone().unwrap_or_default(),
            ]
        })
        .collect();
    print!(
        "{}",
        table(&[" revision", "applied", "by", "with", "state", "message"], &rows)
    );
    Ok(())
}

fn origin(origin: Origin) -> String {
    match origin {
        Origin::Apply => "apply".to_owned(),
        Origin::Rollback(number) => format!("rollback {number}"),
        Origin::Reload => "reload".to_owned(),
        Origin::Up => "up".to_owned(),
        Origin::Enrol => "host enrol".to_owned(),
    }
}

fn state(revision: &Revision, in_force: Option<u64>, now: Timestamp) -> String {
    match &revision.state {
        State::Pending(until) => format!("in force; taken back {} unless confirmed", from_now(*until, now)),
        State::Confirmed if in_force == Some(revision.number) => "in force".to_owned(),
        State::Confirmed => "replaced".to_owned(),
        State::RolledBack(why) => format!("taken back: {why}"),
    }
}

/// Without a daemon, what was not confirmed will be no more.
fn stored_state(revision: &Revision, last: Option<u64>) -> String {
    match &revision.state {
        State::Pending(_) => "not confirmed: the next `up` goes back from it".to_owned(),
        State::Confirmed if last == Some(revision.number) => "the last in force".to_owned(),
        State::Confirmed => "replaced".to_owned(),
        State::RolledBack(why) => format!("taken back: {why}"),
    }
}

/// `fielato show`
pub fn show(paths: &Paths, args: &Show) -> Result<()> {
    let request = Request::Revision { number: args.revision };
    let Response::Revision(report) = super::ask(paths, &request)?.response else {
        bail!("the daemon answered something else")
    };
    if args.json.json {
        return output::json(&report);
    }
    if args.text {
        report.files.iter().for_each(|(_, text)| print!("{text}"));
        return Ok(());
    }
    let revision = &report.revision;
    println!(
        "revision {} by {} at {}, with {}",
        revision.number,
        revision.author,
        revision.time,
        origin(revision.origin)
    );
    if let State::RolledBack(why) = &revision.state {
        println!("taken back: {why}");
    }
    if let Some(message) = &revision.message {
        println!("\n    {message}");
    }
    match report.diff.is_empty() {
        true => println!("\nits text is that of the revision before"),
        false => print!("\n{}", report.diff),
    }
    Ok(())
}
