//! What a machine is like, item by item, so that two moments can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result};
use fielato_kernel::netns;
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::topology::Node;

/// The items of one kind: what identifies each, and its value.
type Items = BTreeMap<String, String>;

/// One machine at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) node: Node,
    pub(super) kinds: Vec<(&'static str, Items)>,
}

impl Snapshot {
    /// All machines of a lab.
    pub(super) fn all(lab: &Lab, interrupt: &Interrupt) -> Result<Vec<Self>> {
        Node::ALL.into_iter().map(|node| Self::of(lab, node, interrupt)).collect()
    }

    fn of(lab: &Lab, node: Node, interrupt: &Interrupt) -> Result<Self> {
        let machine = lab.machine(node);
        let json = |program: &str, arguments: &[&str]| -> Result<Vec<Value>> {
            let text = machine.call(program, arguments).succeed(interrupt)?;
            // iproute2 prints nothing at all where there is nothing.
            let text = if text.trim().is_empty() { "[]" } else { &text };
            serde_json::from_str(text).with_context(|| format!("{program} printed no JSON"))
        };
        let mut routes = json("ip", &["-4", "-j", "route", "show", "table", "all"])?;
        routes.extend(json("ip", &["-6", "-j", "route", "show", "table", "all"])?);
        let mut rules = json("ip", &["-4", "-j", "rule"])?;
        rules.extend(json("ip", &["-6", "-j", "rule"])?);
        let rule_set = machine.call("nft", ["-s", "list", "ruleset"]).succeed(interrupt)?;
        let mut qdiscs = json("tc", &["-j", "qdisc"])?;
        qdiscs.extend(json("tc", &["-j", "class", "show", "dev", crate::topology::OUTER])?);
        let kinds = vec![
            ("links", keyed(json("ip", &["-j", "link"])?, "ifname")),
            ("addresses", keyed(json("ip", &["-j", "address"])?, "ifname")),
            ("routes", whole(routes)),
            ("routing rules", whole(rules)),
            (
                "nft rule set",
                rule_set
                    .lines()
                    .enumerate()
                    .map(|(number, line)| (format!("line {}", number + 1), line.to_owned()))
                    .collect(),
            ),
            ("qdiscs", whole(qdiscs)),
            ("sysctls", sysctls(machine)?),
            ("BPF pins", files_below(&machine.directory().join("bpf"), |_| true)?),
            (
                "sockets",
                files_below(&machine.directory().join("run"), |kind| kind.is_socket())?,
            ),
            (
                "processes",
                machine
                    .processes()?
                    .into_values()
                    .map(|command| (command, String::new()))
                    .collect(),
            ),
            ("namespaces", namespaces(lab)?),
        ];
        Ok(Self { node, kinds })
    }

    /// How many items of a kind there are, and what differs from another moment.
    pub(super) fn compare(&self, later: &Self) -> Vec<Comparison> {
        let pairs = self.kinds.iter().zip(&later.kinds);
        pairs
            .map(|((kind, before), (_, after))| Comparison {
                kind,
                items: before.len(),
                differences: differences(before, after),
            })
            .collect()
    }
}

/// One kind of items at two moments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) kind: &'static str,
    pub(super) items: usize,
    pub(super) differences: Vec<String>,
}

fn differences(before: &Items, after: &Items) -> Vec<String> {
    let gone = before
        .iter()
        .filter(|(key, _)| !after.contains_key(*key))
        .map(|(key, value)| format!("gone: {key} {value}"));
    let new = after
        .iter()
        .filter(|(key, _)| !before.contains_key(*key))
        .map(|(key, value)| format!("new: {key} {value}"));
    let changed = before.iter().filter_map(|(key, value)| {
        let now = after.get(key)?;
        (now != value).then(|| format!("changed: {key}: {value} → {now}"))
    });
    gone.chain(new).chain(changed).collect()
}

fn keyed(values: Vec<Value>, key: &str) -> Items {
    values
        .into_iter()
        .map(|value| (value[key].as_str().unwrap_or_default().to_owned(), value.to_string()))
        .collect()
}

fn whole(values: Vec<Value>) -> Items {
    values.into_iter().map(|value| (value.to_string(), String::new())).collect()
}

/// The network's kernel parameters. What can't be read (some have no value, some are for writing only) is left out.
fn sysctls(machine: &Machine) -> Result<Items> {
    machine.within(|| {
        let mut found = Items::new();
        for family in ["ipv4", "ipv6", "netfilter"] {
            collect_sysctls(&Path::new("/proc/sys/net").join(family), &mut found);
        }
        // A count of what is happening, not a setting.
        found.remove("/proc/sys/net/netfilter/nf_conntrack_count");
        Ok(found)
    })
}

fn collect_sysctls(directory: &Path, found: &mut Items) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_sysctls(&path, found);
        } else if let Ok(value) = fs::read_to_string(&path) {
            found.insert(path.display().to_string(), value.trim().to_owned());
        }
    }
}

fn files_below(directory: &Path, wanted: impl Fn(&fs::FileType) -> bool + Copy) -> Result<Items> {
    let mut found = Items::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files_below(&entry.path(), wanted)?);
        }
        if wanted(&kind) {
            found.insert(entry.path().display().to_string(), String::new());
        }
    }
    Ok(found)
}

/// Those whose names begin with the lab's: others come and go.
fn namespaces(lab: &Lab) -> Result<Items> {
    let names = netns::list()?.into_iter().filter(|name| name.starts_with(lab.name()));
    Ok(names.map(|name| (name, String::new())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let items = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|&(key, value)| (key.into(), value.into()))
                .collect::<Items>()
        };
        let before = items(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = items(&[("a", "1"), ("b", "4"), ("d", "5")]);
        assert_eq!(differences(&before, &after), ["gone: c 3", "new: d 5", "changed: b: 2 → 4"]);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
    }
}
