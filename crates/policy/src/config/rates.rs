//! Which group's rate a member or a group has a part of.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;

/// Groups with a rate, as a tree.
#[derive(Debug, Clone)]
pub(crate) struct Rates<'a> {
    /// For each group with a rate the innermost ones around it; one at most in a configuration that was accepted.
    groups: BTreeMap<&'a str, Vec<&'a str>>,
    /// For each member of such groups the innermost ones that it is in; one at most in a configuration that was accepted.
    members: BTreeMap<&'a str, Vec<&'a str>>,
}

impl Config {
    /// Groups with a rate, and who shares it.
    pub(crate) fn rates(&self) -> Rates<'_> {
        let rated = self.groups.iter().filter(|(_, group)| group.limits.rate.is_some());
        let within: BTreeMap<&str, BTreeSet<&str>> = rated.map(|(name, _)| (name.as_str(), self.groups_within(name))).collect();
        let around_group = |name: &str| {
            within
                .iter()
                .filter(|(_, inner)| inner.contains(name))
                .map(|(outer, _)| *outer)
                .collect()
        };
        let groups = within.keys().map(|name| (*name, innermost(around_group(name), &within)));
        let groups = groups.collect();
        let mut around: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        if !within.is_empty() {
            let contents = self.group_contents();
            for name in within.keys() {
                for member in contents.get(name).into_iter().flat_map(|content| &content.members) {
                    around.entry(member).or_default().push(name);
                }
            }
        }
        let members = around
            .into_iter()
            .map(|(member, around)| (member, innermost(around, &within)));
        Rates {
            members: members.collect(),
            groups,
        }
    }
}

/// Those of `groups` that are around no other of them.
fn innermost<'a>(groups: Vec<&'a str>, within: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let holds = |outer: &str, inner: &str| within.get(outer).is_some_and(|inside| inside.contains(inner));
    let holds_another = |group: &str| groups.iter().any(|other| *other != group && holds(group, other));
    groups.iter().copied().filter(|group| !holds_another(group)).collect()
}

/// More than any configuration that is accepted has around each other.
const MANY: usize = 64;

impl<'a> Rates<'a> {
    /// The group with a rate of which this one has a part.
    pub fn parent_of_group(&self, name: &str) -> Option<&'a str> {
        self.groups.get(name)?.first().copied()
    }

    /// The group with a rate of which this member has a part.
    pub fn parent_of_member(&self, name: &str) -> Option<&'a str> {
        self.members.get(name)?.first().copied()
    }

    /// How many groups with a rate there are on the way from the outermost one to this.
    pub fn depth(&self, name: &str) -> usize {
        let mut parents = std::iter::successors(self.parent_of_group(name), |group| self.parent_of_group(group));
        1 + parents.by_ref().take(MANY).count()
    }

    /// Two groups with a rate around this one, neither within the other.
    pub fn rivals_around(&self, name: &str) -> Option<[&'a str; 2]> {
        two(self.groups.get(name)?)
    }

    /// Members that are in two groups with a rate, neither within the other.
    pub fn rivals_for_members(&self) -> impl Iterator<Item = (&'a str, [&'a str; 2])> {
        self.members
            .iter()
            .filter_map(|(member, groups)| Some((*member, two(groups)?)))
    }
}

fn two<'a>(groups: &[&'a str]) -> Option<[&'a str; 2]> {
    match groups {
        [a, b, ..] => Some([a, b]),
        _ => None,
    }
}
