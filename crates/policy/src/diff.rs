//! What would change from one policy to another: on which machine, in the policy's words, and in those of nft, tc and wg.

mod members;
mod rules;
mod sequence;
mod unified;
mod values;

pub use rules::rule_text;
pub use unified::unified;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Ban, ShapeItem};
use crate::plan::{Firewall, Origin, TunnelPlan};
use crate::render::{self, plain};
use crate::{Config, HostPlan, Plan};

use sequence::{Matching, matching};
use values::{fields, named};

/// A policy with what it compiles to.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The file.
    pub config: &'a Config,
    /// What it makes of the hub; both sides under the same circumstances.
    pub plan: &'a Plan,
}

/// What would change, machine by machine; those that nothing changes on are not among them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PlanDiff {
    /// The hub, then hosts and members, by name.
    pub machines: Vec<MachineDiff>,
}

impl PlanDiff {
    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }
}

/// What changes on a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineDiff {
    /// Which.
    pub machine: Machine,
    /// In the policy's words.
    pub changes: Vec<Change>,
    /// In the words of the programs that would make it so, as a unified diff.
    pub full: String,
}

/// A machine of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Machine {
    /// The hub.
    Hub,
    /// A protected host.
    Host(String),
    /// Members whose own files change, all in the same way: they must be given them anew.
    Members(Vec<String>),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub op: Op,
    /// To what: `member`, `rule`, `group`.
    pub kind: &'static str,
    /// Its name, or its number.
    pub name: String,
    /// What it says, or what of it changes.
    pub detail: String,
}

/// What is done to a part of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Op {
    Remove,
    Add,
    Change,
    Move,
}

impl Op {
    /// In front of a line.
    pub const fn sign(self) -> char {
        match self {
            Op::Remove => '-',
            Op::Add => '+',
            Op::Change => '~',
            Op::Move => '>',
        }
    }
}

/// What would change from `old` to `new`; from nothing when there is no old one.
pub fn diff(old: Policy<'_>, new: Policy<'_>) -> PlanDiff {
    let mut machines: Vec<MachineDiff> = hub(old, new).into_iter().collect();
    let names: BTreeSet<&String> = old.config.hosts.keys().chain(new.config.hosts.keys()).collect();
    machines.extend(names.into_iter().filter_map(|name| host(name, old, new)));
    machines.extend(members::files(old.config, new.config));
    PlanDiff { machines }
}

fn hub(old: Policy<'_>, new: Policy<'_>) -> Option<MachineDiff> {
    if placeless(old.plan) == placeless(new.plan) {
        return None;
    }
    // The path of a key is no part of the policy.
    let script = |plan| render::script::hub(plan, "KEY");
    Some(MachineDiff {
        machine: Machine::Hub,
        changes: policy_changes(old, new),
        full: unified("a/hub", "b/hub", &script(old.plan), &script(new.plan)),
    })
}

/// Without the places of what its rules were made from: a line more in the file changes no machine.
fn placeless(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    // When to compile again is the daemon's own affair.
    plan.next_change = None;
    let Firewall {
        published,
        raw,
        forward,
        input,
        ..
    } = &mut plan.firewall;
    let rules = forward.iter_mut().chain(input).map(|rule| &mut rule.origin);
    rules
        .chain(published.iter_mut().map(|published| &mut published.origin))
        .for_each(nowhere);
    for raw in raw {
        (raw.file, raw.line) = (None, 0);
    }
    plan
}

fn nowhere(origin: &mut Origin) {
    if let Origin::Rule { file, line, .. } | Origin::Publish { file, line, .. } | Origin::Raw { file, line, .. } = origin {
        (*file, *line) = (None, 0);
    }
}

/// Everything that somebody changed in the policy and that the hub is made from.
fn policy_changes(old: Policy<'_>, new: Policy<'_>) -> Vec<Change> {
    let (before, after) = (old.config, new.config);
    let mut changes: Vec<Change> = fields(&before.hub, &after.hub, &["dns"])
        .into_iter()
        .map(|detail| Change {
            op: Op::Change,
            kind: "hub",
            name: String::new(),
            detail,
        })
        .collect();
    // What a member's own file alone says, and groups, which come below.
    changes.extend(named(
        "member",
        &before.members,
        &after.members,
        &["route", "keepalive", "groups"],
    ));
    changes.extend(groups(before, after));
    changes.extend(named("group", &before.groups, &after.groups, &["groups", "members", "hosts"]));
    changes.extend(named("host", &before.hosts, &after.hosts, &["groups"]));
    changes.extend(named("service", &before.services, &after.services, &[]));
    changes.extend(rules::rules(before, after));
    changes.extend(rules::items("published port", &before.publish, &after.publish, |publish| {
        let port = publish.port;
        format!("{}/{} > {}", port.protocol.word(), port.first, publish.to)
    }));
    changes.extend(rules::items("raw rule", &before.raw, &after.raw, |raw| {
        format!("-t {} -A {} {}", raw.table.word(), raw.chain, raw.words)
    }));
    changes.extend(rules::items("shape", &before.shapes, &after.shapes, |shape| {
        match &shape.item {
            ShapeItem::Qdisc(qdisc) => format!("{} qdisc {qdisc}", shape.dev),
            ShapeItem::Class { class, parties } => format!("{} class {class} for {}", shape.dev, rules::parties(parties)),
        }
    }));
    changes.extend(bans(&old.plan.bans, &new.plan.bans));
    changes
}

/// Who came into a group and who left it, by whichever way.
fn groups(old: &Config, new: &Config) -> Vec<Change> {
    let contents = |config: &Config| -> BTreeMap<String, BTreeSet<String>> {
        let contents = config.group_contents();
        let all = contents.iter().map(|(name, content)| {
            let machines = content.members.iter().chain(&content.hosts);
            (name.to_owned(), machines.map(|name| (*name).to_owned()).collect())
        });
        all.collect()
    };
    let (before, after) = (contents(old), contents(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let nobody = BTreeSet::new();
    let mut changes = Vec::new();
    for name in names {
        let (gone, come) = (before.get(name).unwrap_or(&nobody), after.get(name).unwrap_or(&nobody));
        let signed = |sign: char, these: &BTreeSet<String>, those: &BTreeSet<String>| {
            these
                .difference(those)
                .map(|name| format!("{sign}{name}"))
                .collect::<Vec<_>>()
        };
        let detail = [signed('+', come, gone), signed('-', gone, come)].concat().join(" ");
        if !detail.is_empty() {
            changes.push(Change {
                op: Op::Change,
                kind: "group",
                name: name.clone(),
                detail,
            });
        }
    }
    changes
}

fn bans(old: &[Ban], new: &[Ban]) -> Vec<Change> {
    let by_net = |bans: &[Ban]| -> BTreeMap<String, String> {
        let ban = |ban: &Ban| {
            let until = ban.until.map_or_else(String::new, |until| format!("until {until}"));
            (plain(&ban.network), until)
        };
        bans.iter().map(ban).collect()
    };
    let (old, new) = (by_net(old), by_net(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (op, detail) = match (old.get(name), new.get(name)) {
            (None, Some(until)) => (Op::Add, until.clone()),
            (Some(_), None) => (Op::Remove, String::new()),
            (Some(before), Some(after)) if before != after => (Op::Change, after.clone()),
            _ => return None,
        };
        Some(Change {
            op,
            kind: "ban",
            name: name.clone(),
            detail,
        })
    });
    changes.collect()
}

fn host(name: &str, old: Policy<'_>, new: Policy<'_>) -> Option<MachineDiff> {
    let before = HostPlan::of(old.config, old.plan, name).map(placeless_host);
    let after = HostPlan::of(new.config, new.plan, name).map(placeless_host);
    if before == after {
        return None;
    }
    let text = |plan: &Option<HostPlan>| plan.as_ref().map_or_else(String::new, render::nft::host);
    let full = unified(&format!("a/{name}"), &format!("b/{name}"), &text(&before), &text(&after));
    Some(MachineDiff {
        machine: Machine::Host(name.to_owned()),
        changes: host_changes(before.as_ref(), after.as_ref()),
        full,
    })
}

fn placeless_host(mut plan: HostPlan) -> HostPlan {
    let rules = plan.tunnel.iter_mut().flat_map(|tunnel| &mut tunnel.rules);
    rules.for_each(|rule| nowhere(&mut rule.origin));
    plan
}

fn host_changes(old: Option<&HostPlan>, new: Option<&HostPlan>) -> Vec<Change> {
    let change = |op, kind, name: String, detail: String| Change { op, kind, name, detail };
    let (old, new) = match (old, new) {
        (None, Some(new)) => {
            let ports = new.ports.len();
            let s = if ports == 1 { "" } else { "s" };
            let detail = format!("{ports} protected port{s}");
            return vec![change(Op::Add, "host", new.name.clone(), detail)];
        }
        (Some(old), None) => {
            let detail = "no longer protected: its table is to be removed".to_owned();
            return vec![change(Op::Remove, "host", old.name.clone(), detail)];
        }
        (Some(old), Some(new)) => (old, new),
        (None, None) => return Vec::new(),
    };
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel,
    } = new;
    let mut changes = Vec::new();
    for (op, these, those) in [(Op::Remove, &old.ports, ports), (Op::Add, ports, &old.ports)] {
        let ports = these.difference(those);
        changes.extend(ports.map(|port| {
            let (protocol, first, last) = (port.protocol.word(), port.first, port.last);
            let name = match first == last {
                true => format!("{protocol}/{first}"),
                false => format!("{protocol}/{first}-{last}"),
            };
            change(op, "protected port", name, String::new())
        }));
    }
    if old.admit != *admit {
        let detail = fields(&old.admit, admit, &[]).join("; ");
        changes.push(change(Op::Change, "the VPN is told", String::new(), detail));
    }
    changes.extend(tunnel_changes(old.tunnel.as_ref(), tunnel.as_ref()));
    changes
}

/// What the host judges by itself.
fn tunnel_changes(old: Option<&TunnelPlan>, new: Option<&TunnelPlan>) -> Vec<Change> {
    let rules = |tunnel: Option<&TunnelPlan>| -> Vec<(String, String)> {
        let rules = tunnel.into_iter().flat_map(|tunnel| &tunnel.rules);
        rules
            .map(|rule| {
                (
                    rule.origin.comment(),
                    format!("{:?} {:?} {:?}", rule.action, rule.from, rule.to),
                )
            })
            .collect()
    };
    let (before, after) = (rules(old), rules(new));
    let contents = |rules: &[(String, String)]| rules.iter().map(|(_, content)| content.clone()).collect::<Vec<_>>();
    let Matching {
        moved, removed, added, ..
    } = matching(&contents(&before), &contents(&after));
    let change = |op, rule: Option<&(String, String)>| Change {
        op,
        kind: "decision",
        name: rule.map(|(comment, _)| comment.clone()).unwrap_or_default(),
        detail: String::new(),
    };
    let removed = removed.iter().map(|place| change(Op::Remove, before.get(*place)));
    let added = added.iter().map(|place| change(Op::Add, after.get(*place)));
    let moved = moved.iter().map(|(_, place)| change(Op::Move, after.get(*place)));
    let mut changes: Vec<Change> = removed.chain(added).chain(moved).collect();
    let none = BTreeMap::new();
    let sets = |tunnel: Option<&'_ TunnelPlan>| tunnel.map_or_else(|| none.clone(), |tunnel| tunnel.sets.clone());
    let (old_sets, new_sets) = (sets(old), sets(new));
    for (name, after) in &new_sets {
        let Some(before) = old_sets.get(name) else { continue };
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
        let come = after.difference(&before).map(|net| format!("+{}", plain(net)));
        let gone = before.difference(&after).map(|net| format!("-{}", plain(net)));
        let detail: Vec<String> = come.chain(gone).collect();
        if !detail.is_empty() {
            changes.push(Change {
                op: Op::Change,
                kind: "set",
                name: name.clone(),
                detail: detail.join(" "),
            });
        }
    }
    changes
}
