//! `fielato.toml` to [`Config`]: every error of a file is found in one run.
//!
//! The TOML parser's own tree is walked by hand, not through serde: serde stops at the first error, and a person
//! who mends a file wants all of them.

mod exit;
mod expect;
mod groups;
mod hub;
mod include;
mod insertion;
mod limits;
mod machines;
mod names;
mod nat;
mod plain;
mod raw;
mod rules;
mod scalar;
mod shapes;

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Ban, Config, contents};
use crate::diagnostic::{Diagnostics, SECRET_KEYS, Sink, Texts};
use crate::keys::{BAN, TOP};
use crate::schema::{Section, Top};

use limits::Limited;
use names::Names;
use plain::PlainRule;

pub use include::includes;
pub use insertion::Insertion;
pub(crate) use machines::free_address;
pub(crate) use names::RESERVED;
pub(crate) use plain::Plain;

impl Config {
    /// Reads and checks a whole file, one that includes no others.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        Self::parse_files(&[("", text)])
    }

    /// Reads and checks a configuration in several files: name and text of each, the main one first, then those that it
    /// [includes](includes), in their order. Rules and other lists go on from file to file.
    ///
    /// # Errors
    /// Everything that is wrong with them, with file, line and column.
    pub fn parse_files(files: &[(&str, &str)]) -> Result<Self, Diagnostics> {
        let (main, included) = match files {
            [] => ("", files),
            [(_, main), included @ ..] => (*main, included),
        };
        let texts = Texts::of_files(main, included);
        let mut sink = Sink::default();
        let without_plain: Vec<Option<Plain<'_>>> = texts.iter().map(|(begin, text)| Plain::of(text.text, begin)).collect();
        let (mut roots, mut plain) = (Vec::new(), Vec::new());
        for ((begin, text), without_plain) in texts.iter().zip(&without_plain) {
            if let Some(Plain { rest, rules }) = without_plain
                && let (root, errors) = DeTable::parse_recoverable(rest)
                && errors.is_empty()
            {
                roots.push((begin, include::moved(root.into_inner(), begin)));
                plain.extend(rules);
                continue;
            }
            let (root, errors) = DeTable::parse_recoverable(text.text);
            for error in &errors {
                let span = error.span().unwrap_or(0..0);
                let span = begin + span.start..begin + span.end;
                sink.error(span, format!("not TOML: {}", error.message()), "");
            }
            roots.push((begin, include::moved(root.into_inner(), begin)));
        }
        // After a syntax error the tree has holes; what it seems to lack would be told as errors that are none.
        sink = sink.finish(&texts).map(|()| Sink::default())?;
        let config = read(roots.iter().map(|(begin, root)| (*begin, root)), &plain, &texts, &mut sink);
        sink.finish(&texts)?;
        Ok(config)
    }
}

/// Reads what can be read. With errors noted in `sink` the value has gaps filled by defaults and must not be used.
/// The tables of `plain` rules are empty.
fn read<'a>(
    roots: impl Iterator<Item = (usize, &'a DeTable<'a>)> + Clone,
    plain: &[PlainRule<'_>],
    texts: &'a Texts<'a>,
    sink: &mut Sink,
) -> Config {
    for (_, root) in roots.clone() {
        refuse_secrets(root, sink);
    }
    let top = Top::new(roots, texts, TOP, sink);
    include::check(&top, sink);
    let mut hub = hub::read(&top, sink);
    let nat = nat::Nat::read(&top, &mut hub, sink);
    let members = machines::members(&top, &hub, sink);
    let hosts = machines::hosts(&top, &hub, &members, sink);
    let groups = groups::read(&top, &members, &hosts, sink);
    let in_groups = contents(
        members
            .iter()
            .map(|(name, read)| (name.as_str(), read.value.groups.as_slice())),
        hosts.iter().map(|(name, read)| (name.as_str(), read.value.groups.as_slice())),
        groups.iter().map(|(name, read)| (name.as_str(), &read.value)),
    );
    let services = machines::services(&top, &hosts, &in_groups, sink);
    let mut names = Names::new(&members, &groups, &hosts, &services, sink);
    let rules = rules::read(&top, plain, &mut names, sink);
    let shapes = shapes::read(&top, &hub, &mut names, sink);
    shapes::refuse_two_classes(&shapes, &members, &in_groups, sink);
    let known = nat::Known {
        hub: &hub,
        members: &members,
        hosts: &hosts,
        services: &services,
    };
    let publish = nat.published(&top, &known, &mut names, sink);
    let raw = raw::read(&top, sink);
    let tests = expect::read(&top, &hub, &mut names, sink);
    let bans = sections(&top, "ban", sink)
        .into_iter()
        .filter_map(|(span, table)| ban(span, table, sink))
        .collect();
    let limited = Limited {
        members: Limited::of(&members),
        groups: Limited::of(&groups),
        shape: sections(&top, "shape", &mut Sink::default())
            .first()
            .map(|(span, _)| span.start),
    };
    let config = Config {
        hub,
        members: members.into_iter().map(|(name, read)| (name, read.value)).collect(),
        groups: groups.into_iter().map(|(name, read)| (name, read.value)).collect(),
        hosts: hosts.into_iter().map(|(name, read)| (name, read.value)).collect(),
        services: services.into_iter().map(|(name, read)| (name, read.value)).collect(),
        rules,
        shapes,
        bans,
        publish,
        raw,
        tests,
    };
    limits::check(&config, &limited, texts, sink);
    config
}

/// Notes keys that hold secrets, at any depth, also inside of tables that are unknown themselves.
fn refuse_secrets(table: &DeTable<'_>, sink: &mut Sink) {
    for (key, value) in table {
        if SECRET_KEYS.contains(&key.get_ref().to_ascii_lowercase().as_str()) {
            let help = "secrets live in files of mode 0600 under /etc/fielato/keys/; take this out, and change the key if others could read it";
            sink.hidden(key.span(), format!("{} does not belong in this file", key.get_ref()), help);
        }
        match value.get_ref() {
            DeValue::Table(inner) => refuse_secrets(inner, sink),
            DeValue::Array(items) => {
                for item in items.iter() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        refuse_secrets(inner, sink);
                    }
                }
            }
            _ => {}
        }
    }
}

type Named<'a> = (&'a str, Range<usize>, &'a DeTable<'a>);

/// The tables `[kind.NAME]` in the files' order, so that of two that clash the later one is blamed. A name that two files have is
/// told, and kept once.
fn named_sections<'a>(top: &Top<'a>, kind: &str, sink: &mut Sink) -> Vec<Named<'a>> {
    let mut named: Vec<Named<'a>> = Vec::new();
    for value in top.values(kind) {
        let DeValue::Table(tables) = value.get_ref() else {
            sink.error(value.span(), format!("{kind} is not a table"), format!("write [{kind}.NAME]"));
            continue;
        };
        named.reserve(tables.len());
        for (name, value) in tables {
            match value.get_ref() {
                DeValue::Table(table) => named.push((&**name.get_ref(), name.span(), table)),
                _ => sink.error(
                    name.span(),
                    format!("{kind}.{} is not a table", name.get_ref()),
                    format!("write [{kind}.NAME]"),
                ),
            }
        }
    }
    named.sort_by_key(|(_, span, _)| span.start);
    if top.files().len() > 1 {
        let mut first: HashMap<&str, usize> = HashMap::new();
        named.retain(|(name, span, _)| {
            let before = first.get(name).copied();
            if let Some(before) = before {
                let message = format!("{kind} {name} stands in {} already", top.texts.line_in_words(before));
                sink.error(span.clone(), message, "take one of them out, or rename it");
            } else {
                first.insert(name, span.start);
            }
            before.is_none()
        });
    }
    named
}

/// The tables `[[kind]]`, in the files' order.
fn sections<'a>(top: &Top<'a>, kind: &str, sink: &mut Sink) -> Vec<(Range<usize>, &'a DeTable<'a>)> {
    top.values(kind).flat_map(|value| items(value, kind, sink)).collect()
}

/// The tables of one `[[kind]]`.
fn items<'a>(value: &'a Spanned<DeValue<'a>>, kind: &str, sink: &mut Sink) -> Vec<(Range<usize>, &'a DeTable<'a>)> {
    let mut tables = Vec::new();
    let items: &[Spanned<DeValue<'a>>] = match value.get_ref() {
        DeValue::Array(items) => items,
        _ => std::slice::from_ref(value),
    };
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) if value.get_ref().is_array() => tables.push((item.span(), table)),
            _ => sink.error(
                item.span(),
                format!("{kind} is not a list of tables"),
                format!("write [[{kind}]], with two brackets"),
            ),
        }
    }
    tables
}

fn ban<'a>(span: Range<usize>, table: &'a DeTable<'a>, sink: &mut Sink) -> Option<Ban> {
    let section = Section::new("ban".to_owned(), span, table, BAN, sink);
    let until = scalar::time(&section, "until", sink);
    let text = section.required_text("address", "an address or a network", sink)?;
    let network = scalar::network(&section.what, text, sink)?;
    Some(Ban { network, until })
}
