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
        let mut direct: BTreeMap<&str, Content<'_>> = BTreeMap::new();
        for (name, member) in &self.members {
            for group in &member.groups {
                direct.entry(group).or_default().members.insert(name);
            }
        }
        for (name, host) in &self.hosts {
            for group in &host.groups {
                direct.entry(group).or_default().hosts.insert(name);
            }
        }
        for (name, group) in &self.groups {
            let content = direct.entry(name).or_default();
            content.members.extend(group.members.iter().map(String::as_str));
            content.hosts.extend(group.hosts.iter().map(String::as_str));
        }
        // Before any of them grows, so that each gets exactly what was put into the others.
        let nested: Vec<(&str, Content<'_>)> = self
            .groups
            .iter()
            .filter(|(_, group)| !group.groups.is_empty())
            .map(|(name, _)| {
                let mut gained = Content::default();
                for inner in self.groups_within(name).into_iter().filter_map(|within| direct.get(within)) {
                    gained.members.extend(&inner.members);
                    gained.hosts.extend(&inner.hosts);
                }
                (name.as_str(), gained)
            })
            .collect();
        for (name, gained) in nested {
            let content = direct.entry(name).or_default();
            content.members.extend(gained.members);
            content.hosts.extend(gained.hosts);
        }
        Groups { groups: direct }
    }

    /// The groups within a group, at any depth, without itself.
    pub fn groups_within<'a>(&'a self, name: &'a str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            for within in self.groups.get(next).into_iter().flat_map(|group| &group.groups) {
                if within != name && found.insert(within.as_str()) {
                    open.push(within);
                }
            }
        }
        found
    }
}
