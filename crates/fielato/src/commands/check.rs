//! `fielato check`: whether the configuration is valid, and what about it is strange.

use std::process::ExitCode;

use anyhow::Result;
use fielato_control::source::BadConfig;
use fielato_control::{Paths, protocol, source};
use fielato_kernel::{legacy, nft};
use fielato_policy::analyse::{self, About, Finding, Kind, Severity, foreign};
use fielato_policy::lockout::{Logins, Session, lockout};
use fielato_policy::{Config, Plan};
use fielato_wire::Family;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::places::Places;
use super::trace::plan;
use super::{in_force, session};
use crate::cli::Check;
use crate::output::{self, Colour, paint};

/// Something is refused.
const REFUSED: u8 = 1;
/// The configuration is not valid.
const INVALID: u8 = 2;

/// `fielato check`
pub fn run(paths: &Paths, args: &Check) -> Result<ExitCode> {
    let (texts, config) = match source::load_texts(paths) {
        Err(error) if args.json && error.is::<BadConfig>() => return invalid(paths, &error),
        loaded => loaded?,
    };
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let findings = findings(paths, &config, &plan, &session::logins(args.admin), now)?;
    let is_refused = |finding: &&Finding| match finding.severity {
        Severity::Refused => !args.force,
        Severity::Warning => args.strict,
        Severity::Note => false,
    };
    let refused = findings.iter().any(|finding| is_refused(&finding));
    let file = paths.config().display().to_string();
    let places = Places::of(&config, &file, &texts);
    if args.json {
        let findings: Vec<Value> = findings.iter().map(|finding| finding_json(finding, &places)).collect();
        output::json(&json!({
            "version": protocol::VERSION,
            "config": file,
            "valid": true,
            "refused": refused,
            "findings": findings,
        }))?;
    } else {
        for finding in &findings {
            print!("{}", finding_text(finding, &places));
        }
        println!("{}", summary(&file, &findings));
    }
    Ok(if refused { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

/// Everything that should be known of a policy before it is applied here.
fn findings(paths: &Paths, config: &Config, new: &Plan, logins: &Logins, now: Timestamp) -> Result<Vec<Finding>> {
    let mut findings = lockouts(paths, config, new, logins, now)?;
    findings.extend(analyse::analyse(config, new));
    findings.extend(others(&config.hub.interface));
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// What would cut who runs this command, somebody else who is logged in, or the agents of protected hosts.
fn lockouts(paths: &Paths, config: &Config, new: &Plan, logins: &Logins, now: Timestamp) -> Result<Vec<Finding>> {
    let before = in_force::policy(paths)?;
    let before = before
        .map(|before| plan(paths, &before, now).map(|plan| (before, plan)))
        .transpose()?;
    let old = before.as_ref().map(|(config, plan)| (config, plan));
    // Who is logged in, is so by what is in force.
    let mut sessions = logins.sessions(old.map_or(config, |(config, _)| config));
    // Those that have an agent now.
    sessions.extend(old.into_iter().flat_map(|(config, _)| Session::of_agents(config)));
    Ok(lockout(old, (config, new), &sessions, now)?)
}

/// Others' rules on this machine, where these can be read: nft's tables, and those of iptables-legacy.
fn others(interface: &str) -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let mut found: Vec<Result<Vec<Finding>, String>> = Vec::new();
    if nft::check().is_ok() {
        let listing = nft::list_ruleset_json().map_err(|error| error.to_string());
        found.push(listing.and_then(|listing| foreign(&listing, interface).map_err(|error| error.to_string())));
    }
    for family in [Family::V4, Family::V6] {
        found.push(match legacy::save(family) {
            Ok(saved) => Ok(saved.map_or_else(Vec::new, |saved| analyse::legacy(&saved, family, interface))),
            Err(error) => Err(error.to_string()),
        });
    }
    let unread = |problem| {
        vec![Finding {
            kind: Kind::ForeignRules,
            severity: Severity::Note,
            about: About::Machine,
            message: format!("others' rules on this machine could not be looked at: {problem}"),
            help: String::new(),
        }]
    };
    found.into_iter().flat_map(|one| one.unwrap_or_else(unread)).collect()
}

/// `fielato.toml:27:1: warning: rule 3 …`
pub fn finding_text(finding: &Finding, places: &Places<'_>) -> String {
    let place = match &finding.about {
        About::Machine => "this machine".to_owned(),
        about => places.of_about(about).to_string(),
    };
    let colour = match finding.severity {
        Severity::Refused => Colour::Red,
        Severity::Warning => Colour::Yellow,
        Severity::Note => Colour::Green,
    };
    let severity = paint(colour, &finding.severity.to_string());
    let mut text = format!("{place}: {severity}: {}\n", finding.message);
    if !finding.help.is_empty() {
        text += &format!("      {}\n", finding.help);
    }
    text
}

fn finding_json(finding: &Finding, places: &Places<'_>) -> Value {
    let place = places.of_about(&finding.about);
    json!({
        "kind": finding.kind,
        "severity": finding.severity,
        "about": finding.about,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "message": finding.message,
        "help": finding.help,
    })
}

fn summary(file: &str, findings: &[Finding]) -> String {
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let some = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        count => Some(format!("{count} {word}s")),
    };
    let refused = count(Severity::Refused);
    let parts: Vec<String> = (refused > 0)
        .then(|| format!("{refused} refused"))
        .into_iter()
        .chain(some(count(Severity::Warning), "warning"))
        .chain(some(count(Severity::Note), "note"))
        .collect();
    match parts.is_empty() {
        true => format!("{file} is valid, and nothing about it is strange"),
        false => format!("{file} is valid: {}", parts.join(", ")),
    }
}

fn invalid(paths: &Paths, error: &anyhow::Error) -> Result<ExitCode> {
    let main = paths.config().display().to_string();
    let faults = source::Texts::read(paths).ok().and_then(|texts| texts.faults(paths));
    let faults = faults.map_or_else(Vec::new, |faults| faults.0);
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| {
            json!({
                "file": fault.file.as_ref().unwrap_or(&main),
                "line": fault.line,
                "column": fault.column,
                "message": fault.message,
                "help": fault.help,
            })
        })
        .collect();
    output::json(
        &json!({ "version": protocol::VERSION, "config": main, "valid": false, "problem": error.to_string(), "faults": faults }),
    )?;
    Ok(ExitCode::from(INVALID))
}
