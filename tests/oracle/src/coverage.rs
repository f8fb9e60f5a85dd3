//! What a campaign exercised, so that nobody believes that something was tested which never happened.

use std::collections::BTreeMap;

use fielato_wire::{Family, Headers, number};
use serde_json::{Value, json};

use crate::case::Trace;
use crate::rename::is_error;
use crate::subject::{STATUS, Setup};

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Packets that fulfilled rules with this match, per family.
    matches: BTreeMap<String, [u64; 2]>,
    /// Rules with this match that were loaded.
    match_rules: BTreeMap<String, u64>,
    /// Packets that reached this target, per family.
    targets: BTreeMap<String, [u64; 2]>,
    /// Injected packets of this kind.
    packets: BTreeMap<&'static str, u64>,
    /// Connections at the end of cases with this status, state or protocol.
    connections: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds what a case exercised.
    pub fn add(&mut self, trace: &Trace) {
        self.add_rules(&trace.setup, trace);
        for step in &trace.steps {
            *self.packets.entry(kind(&step.packet)).or_default() += 1;
            if step.outputs.is_empty() {
                *self.packets.entry("no output").or_default() += 1;
            }
        }
        for connection in &trace.connections {
            let mut note = |name: String| *self.connections.entry(name).or_default() += 1;
            note(format!("protocol {}", connection.protocol));
            for (bit, name) in STATUS {
                if connection.status & bit != 0 {
                    note(name.to_owned());
                }
            }
            if let Some(state) = connection.state {
                note(format!("protocol {} state {state}", connection.protocol));
            }
            if connection.helper.is_some() {
                note("helper".to_owned());
            }
            if connection.master.is_some() {
                note("master".to_owned());
            }
            if connection.zones != [0, 0] {
                note("zone".to_owned());
            }
        }
    }

    fn add_rules(&mut self, setup: &Setup, trace: &Trace) {
        for counter in trace.counters.iter().filter(|counter| counter.rule.is_some()) {
            let Some(text) = counter.text(setup) else {
                continue;
            };
            let family = usize::from(counter.v6);
            for (name, is_target) in names(text) {
                let place = if is_target { &mut self.targets } else { &mut self.matches };
                place.entry(name.clone()).or_default()[family] += counter.packets;
                if !is_target {
                    *self.match_rules.entry(name).or_default() += 1;
                }
            }
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: Coverage) {
        let Coverage {
            matches,
            match_rules,
            targets,
            packets,
            connections,
        } = other;
        for (ours, theirs) in [(&mut self.matches, matches), (&mut self.targets, targets)] {
            for (name, [v4, v6]) in theirs {
                let counts = ours.entry(name).or_default();
                counts[0] += v4;
                counts[1] += v6;
            }
        }
        for (ours, theirs) in [(&mut self.match_rules, match_rules), (&mut self.connections, connections)] {
            for (name, count) in theirs {
                *ours.entry(name).or_default() += count;
            }
        }
        for (name, count) in packets {
            *self.packets.entry(name).or_default() += count;
        }
    }

    /// As JSON: counts of packets by match and target and family, by kind of packet, of connections by what they were.
    pub fn to_json(&self) -> Value {
        let families = |counts: &BTreeMap<String, [u64; 2]>| {
            counts
                .iter()
                .map(|(name, [v4, v6])| (name.clone(), json!({"ipv4": v4, "ipv6": v6})))
                .collect::<serde_json::Map<_, _>>()
        };
        json!({
            "matches": families(&self.matches),
            "rules_with_match": self.match_rules,
            "targets": families(&self.targets),
            "packets": self.packets,
            "connections": self.connections,
        })
    }

    /// Matches and targets that no packet ever fulfilled or reached, in either family.
    pub fn unexercised(&self) -> Vec<String> {
        let never = |(name, counts): (&String, &[u64; 2])| (*counts == [0, 0]).then(|| name.clone());
        self.matches
            .iter()
            .filter_map(never)
            .chain(self.targets.iter().filter_map(never))
            .collect()
    }

    /// How many options of matches and targets were in rules.
    pub fn len(&self) -> usize {
        self.matches.len() + self.targets.len()
    }

    /// Whether there were no rules at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a few lines of text: name and packets (IPv4 + IPv6).
    pub fn to_text(&self) -> String {
        let list = |counts: &BTreeMap<String, [u64; 2]>| {
            let words: Vec<String> = counts.iter().map(|(name, [v4, v6])| format!("{name} {v4}+{v6}")).collect();
            words.join(", ")
        };
        let plain = |counts: Vec<String>| counts.join(", ");
        format!(
            "packets that fulfilled a match (IPv4+IPv6): {}\npackets that reached a target: {}\npackets injected: {}\nconnections at the end of cases: {}\n",
            list(&self.matches),
            list(&self.targets),
            plain(self.packets.iter().map(|(name, count)| format!("{name} {count}")).collect()),
            plain(
                self.connections
                    .iter()
                    .map(|(name, count)| format!("{name} {count}"))
                    .collect()
            ),
        )
    }
}

/// Names of a rule's matches and target; matches also by the option that tells their modes apart.
fn names(text: &str) -> Vec<(String, bool)> {
    const BASE: [&str; 7] = ["-p", "-s", "-d", "-i", "-o", "-f", "-g"];
    let words: Vec<&str> = text.split(' ').collect();
    let mut names = Vec::new();
    let mut current = None;
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1).copied().unwrap_or_default();
        let not = index > 0 && words[index - 1] == "!";
        match *word {
            "-m" => current = Some(next),
            "-j" => {
                current = None;
                names.push((if next.starts_with("user") { "jump" } else { next }.to_owned(), true));
            }
            "-g" => names.push(("goto".to_owned(), true)),
            option if BASE.contains(&option) => {
                names.push((format!("{}{option}", if not { "! " } else { "" }), false));
            }
            option if option.starts_with("--") => {
                let place = match current {
                    Some(name) => (format!("{name} {}{option}", if not { "! " } else { "" }), false),
                    None => match names.last() {
                        Some((target, true)) if !target.contains(' ') => (format!("{target} {option}"), true),
                        _ => continue,
                    },
                };
                names.push(place);
            }
            _ => {}
        }
    }
    names
}

fn kind(packet: &[u8]) -> &'static str {
    let Ok(headers) = Headers::parse(packet) else {
        return "malformed";
    };
    if headers.is_fragment() {
        return "fragment";
    }
    if is_error(&headers) {
        return "ICMP error";
    }
    let v4 = headers.family == Family::V4;
    match headers.protocol {
        number::TCP if v4 => "IPv4 TCP",
        number::TCP => "IPv6 TCP",
        number::UDP if v4 => "IPv4 UDP",
        number::UDP => "IPv6 UDP",
        number::ICMP | number::ICMPV6 => "ICMP",
        number::SCTP => "SCTP",
        number::DCCP => "DCCP",
        number::GRE => "GRE",
        number::UDPLITE => "UDP-Lite",
        number::ESP | number::AH => "IPsec",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_out_of_rules() {
        let text = "FORWARD -p tcp ! -i tun0 -m tcp ! --dport 80 -m state --state NEW -j REJECT --reject-with tcp-reset";
        let names: Vec<String> = names(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "-p",
                "! -i",
                "tcp ! --dport",
                "state --state",
                "REJECT",
                "REJECT --reject-with"
            ]
        );
    }
}
