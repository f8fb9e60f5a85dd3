//! Traces as aligned text.

use std::fmt::{self, Write as _};

use super::question::Sender;
use super::station::{End, Place, Reason, Role, Station, Step, Trace};
use crate::gateway::Origin;

/// All traces, one after the other. `file` is how the configuration file is called where a line of it is named.
pub fn text(traces: &[Trace], file: &str) -> String {
    let mut out = String::new();
    for (index, trace) in traces.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        one(trace, file, &mut out);
    }
    out
}

fn one(trace: &Trace, file: &str, out: &mut String) {
    let _ = writeln!(out, "{}{}", lead(trace.role), trace.packet);
    let rows: Vec<[String; 3]> = trace
        .stations
        .iter()
        .map(|station| [station.place.to_string(), word(&station.step), line(station, file)])
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (places, words) = (width(0), width(1));
    let mut before = "";
    for [place, word, line] in &rows {
        let shown = if place == before { "" } else { place };
        let _ = writeln!(out, "  {shown:<places$}  {word:<words$}  {line}");
        before = place;
    }
    match &trace.end {
        End::Arrived { at, packet } => {
            let _ = writeln!(out, "passes: {packet}, arrived at {at}");
        }
        End::Stopped { at, reason, advice } => {
            let _ = writeln!(out, "stopped at {at}: {}", why(reason, file));
            for line in advice.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
}

pub(super) const fn lead(role: Role) -> &'static str {
    match role {
        Role::Asked => "",
        Role::Opening => "no connection is established, since a packet of its opening is stopped: ",
        Role::Answer => "the answer: ",
    }
}

/// The second column.
fn word(step: &Step) -> String {
    match step {
        Step::MemberRoute { .. } | Step::Route { .. } => "route",
        Step::Encrypt { .. } => "encrypt",
        Step::Decrypt { .. } => "decrypt",
        Step::NoPeer { .. } => "peer",
        Step::Guard { .. } => "guard",
        Step::Arrive { .. } => "arrive",
        Step::Connection { .. } => "conntrack",
        Step::Table { hook, .. } => hook,
        Step::Nat { .. } => "nat",
        Step::Proxy { .. } => "proxy",
        Step::Queue { .. } => "queue",
        Step::Tell { .. } => "answer",
    }
    .to_owned()
}

/// The third column.
fn line(station: &Station, file: &str) -> String {
    match &station.step {
        Step::MemberRoute {
            route,
            network: Some(network),
        } => format!("AllowedIPs {network} (route = {route}): into the tunnel"),
        Step::MemberRoute { route, network: None } => {
            format!("no entry of AllowedIPs (route = {route}): past the hub")
        }
        Step::Encrypt { to, cipher } => format!(
            "{} bytes in cipher for {to}, UDP {} > {}",
            cipher.length, cipher.from, cipher.to
        ),
        Step::Decrypt { from, source, allowed } => {
            let own = allowed.iter().any(|net| net.contains(source));
            let is = if own { "is" } else { "is not" };
            match station.place {
                Place::Hub => format!("the key of {from}; {source} {is} its address"),
                _ => format!("the key of {from}; {source} {is} in AllowedIPs"),
            }
        }
        Step::NoPeer { member, state } => format!("{member} {state}: the hub does not know its key"),
        Step::Guard { limited: true, .. } => "more than its source may send".to_owned(),
        Step::Guard { ban: None, .. } => "not banned".to_owned(),
        Step::Guard { ban: Some(network), .. } => format!("banned as {network}"),
        Step::Arrive { interface } => format!("by {interface}"),
        Step::Connection { state } => (*state).to_owned(),
        Step::Table {
            hook: _,
            table,
            chain,
            rule,
            origin,
            verdict,
        } => {
            let place = match rule {
                Some(rule) => format!("rule {rule}"),
                None => "policy".to_owned(),
            };
            let origin = origin
                .as_ref()
                .map_or_else(String::new, |origin| format!(" ({})", named(origin, file)));
            format!("{table} {chain} {place}{origin}: {verdict}")
        }
        Step::Nat {
            end,
            before,
            after,
            supposed,
        } => {
            let unknown = if *supposed {
                " (the hub's own; `source` in [hub] would name it)"
            } else {
                ""
            };
            format!("{end} {before} -> {after}{unknown}")
        }
        Step::Proxy { address } => format!("by a socket of the hub's machine, {address}"),
        Step::Route { interface: None, .. } => "for this machine".to_owned(),
        Step::Route {
            interface: Some(interface),
            via: None,
        } => format!("by {interface}"),
        Step::Route {
            interface: Some(interface),
            via: Some(via),
        } => format!("by {interface}, next hop {via}"),
        Step::Queue { interface, path } if path.is_empty() => format!("{interface}, first in first out"),
        Step::Queue { interface, path } => format!("{interface}: {}", path.join(", ")),
        Step::Tell { packet, lost: None } => packet.to_string(),
        Step::Tell {
            packet,
            lost: Some((at, reason)),
        } => format!("{packet}, lost at {at}: {}", why(reason, file)),
    }
}

/// `[[rule]] 2, fielato.toml:27`, or what else a rule is called.
pub fn named(origin: &Origin, main: &str) -> String {
    let file = |included: &Option<String>| included.clone().unwrap_or_else(|| main.to_owned());
    match origin {
        Origin::Rule {
            number,
            file: included,
            line,
        } => format!("[[rule]] {number}, {}:{line}", file(included)),
        Origin::Publish {
            number,
            file: included,
            line,
        } => format!("[[nat.publish]] {number}, {}:{line}", file(included)),
        Origin::Raw {
            number,
            file: included,
            line,
        } => format!("[raw] rule {number}, {}:{line}", file(included)),
        Origin::Grant { member, service } => format!("grant of {service} to {member}"),
        other => other.comment(),
    }
}

/// Why a packet was stopped, in a few words.
pub fn why(reason: &Reason, file: &str) -> String {
    match reason {
        Reason::NotTunnelled => "it never comes to the hub".to_owned(),
        Reason::NoPeer { member, state } => format!("{member} {state}"),
        Reason::NobodysAddress => "no member has that address".to_owned(),
        Reason::ForeignSource => "the source is not the member's".to_owned(),
        Reason::Banned { network } => format!("{network} is banned"),
        Reason::Rule { origin } => named(origin, file),
        Reason::Gateway { name } => name.clone(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Member(name) => write!(f, "member {name}"),
            Place::Hub => f.write_str("hub"),
            Place::Host(name) => write!(f, "host {name}"),
            Place::Outside => f.write_str("outside"),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Member(name) | Sender::Outside(Some(name)) => f.write_str(name),
            Sender::Hub => f.write_str("the hub"),
            Sender::Outside(None) => f.write_str("somebody outside"),
        }
    }
}
