//! `[group.NAME]`, with the groups within groups.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::config::{Group, Host, Member};
use crate::diagnostic::Sink;
use crate::keys::GROUP;
use crate::schema::{Section, Top, closest};

use super::machines::{Read, Table};
use super::{limits, named_sections, scalar};

/// A group within a group, and where that stands.
type Nested = BTreeMap<String, Vec<(String, Range<usize>)>>;

pub fn read(top: &Top<'_>, members: &Table<Member>, hosts: &Table<Host>, sink: &mut Sink) -> Table<Group> {
    let sections = named_sections(top, "group", sink);
    let mut known: HashSet<&str> = sections.iter().map(|(name, _, _)| *name).collect();
    known.extend(members.values().flat_map(|read| &read.value.groups).map(String::as_str));
    known.extend(hosts.values().flat_map(|read| &read.value.groups).map(String::as_str));
    let mut groups = Table::new();
    let mut nested = Nested::new();
    for (name, span, table) in sections {
        scalar::check_name("group", (name, span.clone()), sink);
        let section = Section::new(format!("group {name}"), span.clone(), table, GROUP, sink);
        let within = listed(
            &section,
            "groups",
            "group",
            &|word| known.contains(word),
            known.iter().copied(),
            sink,
        );
        let is_member = |word: &str| members.contains_key(word);
        let is_host = |word: &str| hosts.contains_key(word);
        let names = |texts: Vec<(String, Range<usize>)>| texts.into_iter().map(|(name, _)| name).collect();
        let (limits, places) = limits::read(&section, sink);
        let value = Group {
            groups: within.iter().map(|(name, _)| name.clone()).collect(),
            members: names(listed(
                &section,
                "members",
                "member",
                &is_member,
                members.keys().map(String::as_str),
                sink,
            )),
            hosts: names(listed(
                &section,
                "hosts",
                "host",
                &is_host,
                hosts.keys().map(String::as_str),
                sink,
            )),
            limits,
        };
        nested.insert(name.to_owned(), within);
        let read = Read {
            value,
            span,
            groups: Vec::new(),
            limits: places,
        };
        groups.insert(name.to_owned(), read);
    }
    refuse_cycles(&nested, sink);
    groups
}

/// The names under `key`, each known and each once.
fn listed<'k>(
    section: &Section<'_>,
    key: &str,
    kind: &str,
    is_known: &dyn Fn(&str) -> bool,
    known: impl Iterator<Item = &'k str>,
    sink: &mut Sink,
) -> Vec<(String, Range<usize>)> {
    let mut found: Vec<(String, Range<usize>)> = Vec::new();
    let mut once: HashSet<&str> = HashSet::new();
    let mut candidates = Some(known);
    for (word, span) in section.texts(key, false, "a list of names", sink) {
        let what = &section.what;
        if !once.insert(word) {
            sink.error(
                span,
                format!("{what}: {kind} {} is named twice", word.escape_debug()),
                "name it once",
            );
        } else if !is_known(word) {
            // One suggestion for each list: a file with thousands of unknown names is still read in a moment.
            let near = candidates.take().and_then(|known| closest(word, known));
            let help = near.map_or_else(
                || format!("add [{kind}.{word}], or take the name out"),
                |near| format!("did you mean {near}?"),
            );
            sink.error(span, format!("{what}: no {kind} is called \"{}\"", word.escape_debug()), help);
        } else {
            found.push((word.to_owned(), span));
        }
    }
    found
}

/// Notes each mention of a group by which one comes to be within itself.
fn refuse_cycles(nested: &Nested, sink: &mut Sink) {
    for (name, within) in nested {
        for (inner, span) in within {
            if let Some(path) = path(nested, inner, name) {
                let message = format!("group {name} would be within itself: {name} > {}", path.join(" > "));
                sink.error(span.clone(), message, "take one of these out of another");
            }
        }
    }
}

/// A way from a group inwards to another.
fn path<'n>(nested: &'n Nested, from: &'n str, to: &str) -> Option<Vec<&'n str>> {
    let mut seen = HashSet::from([from]);
    let mut open = vec![vec![from]];
    while let Some(path) = open.pop() {
        let last = *path.last()?;
        if last == to {
            return Some(path);
        }
        for (next, _) in nested.get(last).into_iter().flatten() {
            if seen.insert(next) {
                open.push(path.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}
