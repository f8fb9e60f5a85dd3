//! What a campaign exercised, so that nobody believes that something was tested which never happened.

use std::collections::BTreeMap;

use fielato_wire::{Headers, number};
use serde_json::{Value, json};

use crate::case::Case;

/// Packets by what they met and by what they were.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds what a case exercised.
    pub fn add(&mut self, case: &Case) {
        let mut note = |name: &str, count: u64| *self.counts.entry(name.to_owned()).or_default() += count;
        for (name, (packets, _)) in &case.tallies {
            note(kind(name), *packets);
        }
        for step in &case.steps {
            note(&format!("in by {}", step.port.name()), 1);
            note(protocol(&step.packet), 1);
            if step.outputs.is_empty() {
                note("no output", 1);
            }
            for output in &step.outputs {
                note(&format!("out by {}", output.port.name()), 1);
            }
        }
        note("connections", case.connections.len() as u64);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: Coverage) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// How often something of that name happened.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        json!(self.counts)
    }

    /// As a line of text.
    pub fn to_text(&self) -> String {
        let words: Vec<String> = self.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        words.join(", ")
    }
}

/// A tally without the names of one policy.
fn kind(name: &str) -> &str {
    match name.split_once(": ") {
        Some((chain, comment)) if comment.starts_with("rule") => match chain {
            "forward" => "forward: a rule",
            _ => "input: a rule",
        },
        Some(_) => name,
        None if name.starts_with("class ") => "class",
        None => "ban",
    }
}

fn protocol(packet: &[u8]) -> &'static str {
    match Headers::parse(packet) {
        Err(_) => "malformed",
        Ok(headers) if headers.is_fragment() => "fragment",
        Ok(headers) => match headers.protocol {
            number::TCP => "TCP",
            number::UDP => "UDP",
            number::ICMP | number::ICMPV6 => "ICMP",
            _ => "other protocols",
        },
    }
}
