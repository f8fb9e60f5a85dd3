//! `[group.NAME]`, and who is in a group.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Config, Limits};

/// A group with what its own table says. Members and hosts also come in by their own `groups`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Group {
    /// Groups whose members and hosts are in this one too.
    pub groups: Vec<String>,
    /// Members in it.
    pub members: Vec<String>,
    /// Hosts in it.
    pub hosts: Vec<String>,
    /// What its members share.
    pub limits: Limits,
}

/// Who is in each group, with those in the groups within it.
#[derive(Debug, Clone, Default)]
pub struct Groups<'a> {
    groups: BTreeMap<&'a str, Content<'a>>,
}

/// Who is in a group.
#[derive(Debug, Clone, Default)]
pub struct Content<'a> {
    /// Members, whether or not they are active.
    pub members: BTreeSet<&'a str>,
    /// Hosts.
    pub hosts: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    /// Who is in `name`; nobody when there is no such group.
    pub fn get(&self, name: &str) -> Option<&Content<'a>> {
        self.groups.get(name)
    }

    /// Every group.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Content<'a>)> {
        self.groups.iter().map(|(name, content)| (*name, content))
    }
}

impl Config {
    /// Who is in each group: by `groups` of members and hosts, by the group's own lists, and by the groups within it.
    pub fn group_contents(&self) -> Groups<'_> {
        contents(
            self.members
                .iter()
                .map(|(name, member)| (name.as_str(), member.groups.as_slice())),
            self.hosts.iter().map(|(name, host)| (name.as_str(), host.groups.as_slice())),
            self.groups.iter().map(|(name, group)| (name.as_str(), group)),
        )
    }

    /// The groups within a group, at any depth, without itself.
    pub fn groups_within<'a>(&'a self, name: &'a str) -> BTreeSet<&'a str> {
        within(name, |group| self.groups.get(group))
    }
}

/// Who is in each group, of members and hosts with their groups, and of the groups' own tables.
pub(crate) fn contents<'a>(
    members: impl Iterator<Item = (&'a str, &'a [String])>,
    hosts: impl Iterator<Item = (&'a str, &'a [String])>,
    tables: impl Iterator<Item = (&'a str, &'a Group)>,
) -> Groups<'a> {
    let tables: BTreeMap<&str, &Group> = tables.collect();
    let mut groups: BTreeMap<&str, Content<'_>> = BTreeMap::new();
    for (name, of) in members {
        for group in of {
            groups.entry(group).or_default().members.insert(name);
        }
    }
    for (name, of) in hosts {
        for group in of {
            groups.entry(group).or_default().hosts.insert(name);
        }
    }
    for (name, group) in &tables {
        let content = groups.entry(name).or_default();
        content.members.extend(group.members.iter().map(String::as_str));
        content.hosts.extend(group.hosts.iter().map(String::as_str));
    }
    // All of this before any of them grows, so that each gets exactly what was put into the others.
    let nested = tables.iter().filter(|(_, group)| !group.groups.is_empty());
    let nested = nested.map(|(name, _)| {
        let mut gained = Content::default();
        let within = within(name, |group| tables.get(group).copied());
        for inner in within.into_iter().filter_map(|within| groups.get(within)) {
            gained.members.extend(&inner.members);
            gained.hosts.extend(&inner.hosts);
        }
        (*name, gained)
    });
    for (name, gained) in nested.collect::<Vec<_>>() {
        let content = groups.entry(name).or_default();
        content.members.extend(gained.members);
        content.hosts.extend(gained.hosts);
    }
    Groups { groups }
}

/// The groups within a group, at any depth, without itself.
fn within<'a>(name: &'a str, table: impl Fn(&str) -> Option<&'a Group>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(next) = open.pop() {
        for group in table(next).into_iter().flat_map(|group| &group.groups) {
            if group != name && found.insert(group.as_str()) {
                open.push(group);
            }
        }
    }
    found
}
