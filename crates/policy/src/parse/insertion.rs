//! A file that has grown by members only, as `member add` makes it grow: the new tables are parsed, the rest is known.
//!
//! Reading ten thousand members takes many times longer than anything else a reload does. Whatever is not plainly this case
//! is left to [`Config::parse`], errors too.

use toml::de::DeTable;

use crate::config::{Config, Member, contents};
use crate::diagnostic::{Sink, Texts};
use crate::keys::TOP;
use crate::schema::Top;

use super::{limits, machines, refuse_secrets, shapes};

/// Each is compared with every member that is there; more of them are parsed with the whole file.
const INSERTED_MAX: usize = 16;

/// The header of a member's table. In a valid file without multi-line strings a line that begins so is a header and nothing
/// else, since `member.NAME` is no TOML value that an array could hold.
const HEADER: &str = "[member.";

/// Members that were inserted into a file's text, checked against the rest of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    members: Vec<(String, Member)>,
    /// Number of the first inserted line, 1-based.
    line: usize,
    /// How many lines were inserted.
    lines: usize,
}

impl Config {
    /// What leads from this configuration, which was parsed from `old`, to that of `new`, when `new` is `old` with a few
    /// members' tables inserted in one place behind another member. `None` in every other case, and when `new` is invalid.
    pub fn insertion(&self, old: &str, new: &str) -> Option<Insertion> {
        let (at, inserted) = inserted(old, new)?;
        if has_multi_line_string(old) || has_multi_line_string(inserted) || !between_tables(old, at) {
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(inserted);
        let root = root.get_ref();
        if !errors.is_empty() || !root.keys().all(|key| key.get_ref() == "member") {
            return None;
        }
        let mut sink = Sink::default();
        refuse_secrets(root, &mut sink);
        let texts = Texts::one(inserted);
        let top = Top::new(std::iter::once((0, root)), &texts, TOP, &mut sink);
        let members = machines::members(&top, &self.hub, &mut sink);
        let named = members
            .iter()
            .map(|(name, read)| (name.as_str(), read.value.groups.as_slice()));
        let groups = self.groups.iter().map(|(name, group)| (name.as_str(), group));
        let in_groups = contents(named, std::iter::empty(), groups);
        shapes::refuse_two_classes(&self.shapes, &members, &in_groups, &mut sink);
        sink.finish(&texts).ok()?;
        // What is wrong with rates beside each other is for the whole parser.
        let has_rates = self.groups.values().any(|group| group.limits.rate.is_some());
        if has_rates || members.values().any(|read| read.limits != limits::Places::default()) {
            return None;
        }
        let members: Vec<(String, Member)> = members.into_iter().map(|(name, read)| (name, read.value)).collect();
        if members.is_empty() || members.len() > INSERTED_MAX || !self.has_room_for(&members) {
            return None;
        }
        let count = |text: &str| text.bytes().filter(|byte| *byte == b'\n').count();
        Some(Insertion {
            members,
            line: count(&old[..at]) + 1,
            lines: count(inserted),
        })
    }

    /// Whether names, addresses and keys of `new` are nobody else's.
    fn has_room_for(&self, new: &[(String, Member)]) -> bool {
        let is_machine =
            |name: &str| self.members.contains_key(name) || self.hosts.contains_key(name) || self.services.contains_key(name);
        let is_group = |name: &str| {
            self.groups.contains_key(name) || self.hosts.values().any(|host| host.groups.iter().any(|group| group == name))
        };
        let is_new = |name: &str| new.iter().any(|(other, _)| other == name);
        let names_are_free = new.iter().all(|(name, member)| {
            !is_machine(name) && !is_group(name) && member.groups.iter().all(|group| !is_machine(group) && !is_new(group))
        });
        names_are_free
            && self.members.values().all(|known| {
                new.iter().all(|(name, member)| {
                    member.public_key != known.public_key
                        && member.addresses.iter().all(|address| !known.addresses.contains(address))
                        && !known.groups.contains(name)
                })
            })
    }

    /// Takes the members in.
    pub fn insert(&mut self, insertion: &Insertion) {
        self.members.extend(insertion.members.iter().cloned());
        for line in self.lines_mut().filter(|line| **line >= insertion.line) {
            *line += insertion.lines;
        }
    }

    /// Undoes [`Config::insert`].
    pub fn take_back(&mut self, insertion: &Insertion) {
        for (name, _) in &insertion.members {
            self.members.remove(name);
        }
        for line in self.lines_mut().filter(|line| **line >= insertion.line + insertion.lines) {
            *line -= insertion.lines;
        }
    }

    /// Every line of the main file that is kept.
    fn lines_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        let rules = self.rules.iter_mut().map(|rule| (&rule.file, &mut rule.line));
        let shapes = self.shapes.iter_mut().map(|shape| (&shape.file, &mut shape.line));
        let publish = self.publish.iter_mut().map(|publish| (&publish.file, &mut publish.line));
        let raw = self.raw.iter_mut().map(|raw| (&raw.file, &mut raw.line));
        let tests = self.tests.iter_mut().map(|test| (&test.file, &mut test.line));
        let all = rules.chain(shapes).chain(publish).chain(raw).chain(tests);
        all.filter(|(file, _)| file.is_none()).map(|(_, line)| line)
    }
}

/// Where in `old` whole lines that begin with a member's table were inserted to make `new`, and these lines.
fn inserted<'t>(old: &str, new: &'t str) -> Option<(usize, &'t str)> {
    let len = new.len().checked_sub(old.len()).filter(|len| *len > 0)?;
    let mut at = common_prefix(old.as_bytes(), new.as_bytes());
    if new.as_bytes()[at + len..] != old.as_bytes()[at..] {
        return None;
    }
    // The same insertion has several places when what follows begins like the inserted text: `[` and `[`.
    loop {
        let at_line = at == 0 || new.as_bytes()[at - 1] == b'\n';
        if at_line
            && let Some(inserted) = new.get(at..at + len)
            && inserted.ends_with('\n')
            && significant(inserted).is_some_and(|line| line.starts_with(HEADER))
        {
            return Some((at, inserted));
        }
        at = at
            .checked_sub(1)
            .filter(|at| new.as_bytes()[*at] == new.as_bytes()[at + len])?;
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let same = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// The first line that is neither empty nor a comment.
fn significant(text: &str) -> Option<&str> {
    text.lines().find(|line| !is_blank(line))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Whether a `"""` or `'''` stands anywhere. Of three bytes in a row one has a place that three divides, so only these are
/// looked at.
fn has_multi_line_string(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_within = |at: usize| {
        let around = &bytes[at.saturating_sub(2)..bytes.len().min(at + 3)];
        around.windows(3).any(|three| three == [bytes[at]; 3])
    };
    (0..bytes.len())
        .step_by(3)
        .any(|at| matches!(bytes[at], b'"' | b'\'') && is_within(at))
}

/// Whether the line that begins at `at` can be pushed down by a table: a member's table ends before, and a header or the end
/// of the file follows.
fn between_tables(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at(at);
    if significant(after).is_some_and(|line| !line.starts_with('[')) {
        return false;
    }
    let header = match before.rfind(&format!("\n{HEADER}")) {
        Some(newline) => newline + 1,
        None if before.starts_with(HEADER) => 0,
        None => return false,
    };
    let mut lines = before[header..].lines().skip(1);
    lines.all(|line| is_blank(line) || (!line.trim_start().starts_with('[') && is_closed(line)))
}

/// Whether every string and bracket that the line opens is closed on it.
fn is_closed(line: &str) -> bool {
    let mut depth = 0usize;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('"'), '\\') => drop(chars.next()),
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            (None, '#') => break,
            (None, _) => {}
        }
    }
    depth == 0 && quote.is_none()
}
