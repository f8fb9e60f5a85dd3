//! `fielato.toml` to [`Config`]: every error of a file is found in one run.
//!
//! The TOML parser's own tree is walked by hand, not through serde: serde stops at the first error, and a person
//! who mends a file wants all of them.

mod exit;
mod hub;
mod insertion;
mod machines;
mod names;
mod scalar;
mod shapes;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Action, Ban, Config, Party, Rule};
use crate::diagnostic::{Diagnostics, Lines, SECRET_KEYS, Sink};
use crate::schema::Section;

use names::{Names, Place};

pub use insertion::Insertion;
pub(crate) use machines::free_address;
pub(crate) use names::RESERVED;

const TOP: [&str; 7] = ["hub", "member", "host", "service", "rule", "shape", "ban"];

impl Config {
    /// Reads and checks a whole file.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let lines = Lines::new(text);
        let mut sink = Sink::default();
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            sink.error(span, format!("not TOML: {}", error.message()), "");
        }
        // After a syntax error the tree has holes; what it seems to lack would be told as errors that are none.
        sink = sink.finish(text, &lines).map(|()| Sink::default())?;
        let config = read(root.get_ref(), text, &lines, &mut sink);
        sink.finish(text, &lines)?;
        Ok(config)
    }
}

/// Reads what can be read. With errors noted in `sink` the value has gaps filled by defaults and must not be used.
fn read<'a>(root: &'a DeTable<'a>, text: &str, lines: &Lines, sink: &mut Sink) -> Config {
    refuse_secrets(root, sink);
    let top = Section::new(String::new(), 0..0, root, &TOP, sink);
    let hub = hub::read(&top, sink);
    let members = machines::members(&top, &hub, sink);
    let hosts = machines::hosts(&top, &hub, &members, sink);
    let services = machines::services(&top, &hosts, sink);
    let mut names = Names::new(&members, &hosts, &services, sink);
    let rules = sections(&top, "rule", sink)
        .into_iter()
        .filter_map(|(span, table)| rule(span, table, &mut names, lines, sink))
        .collect();
    let shapes = shapes::read(&top, &hub, &mut names, text, lines, sink);
    shapes::refuse_two_classes(&shapes, &members, sink);
    let bans = sections(&top, "ban", sink)
        .into_iter()
        .filter_map(|(span, table)| ban(span, table, sink))
        .collect();
    Config {
        hub,
        members: members.into_iter().map(|(name, read)| (name, read.value)).collect(),
        hosts: hosts.into_iter().map(|(name, read)| (name, read.value)).collect(),
        services: services.into_iter().map(|(name, read)| (name, read.value)).collect(),
        groups: BTreeMap::new(),
        rules,
        shapes,
        bans,
        publish: Vec::new(),
        raw: Vec::new(),
        tests: Vec::new(),
    }
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

/// The tables `[kind.NAME]` in the file's order, so that of two that clash the later one is blamed.
fn named_sections<'a>(top: &Section<'a>, kind: &str, sink: &mut Sink) -> Vec<Named<'a>> {
    let Some(value) = top.value(kind) else { return Vec::new() };
    let DeValue::Table(tables) = value.get_ref() else {
        sink.error(value.span(), format!("{kind} is not a table"), format!("write [{kind}.NAME]"));
        return Vec::new();
    };
    let mut named = Vec::with_capacity(tables.len());
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
    named.sort_by_key(|(_, span, _)| span.start);
    named
}

/// The tables `[[kind]]`.
fn sections<'a>(top: &Section<'a>, kind: &str, sink: &mut Sink) -> Vec<(Range<usize>, &'a DeTable<'a>)> {
    let Some(value) = top.value(kind) else { return Vec::new() };
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

fn rule<'a>(span: Range<usize>, table: &'a DeTable<'a>, names: &mut Names<'_>, lines: &Lines, sink: &mut Sink) -> Option<Rule> {
    let line = lines.line(span.start);
    let section = Section::new("rule".to_owned(), span, table, &["from", "to", "action"], sink);
    let from = bare(names.parties(&section, "from", Place::From, sink));
    let to = bare(names.parties(&section, "to", Place::To, sink));
    let right = "\"accept\", \"drop\" or \"reject\"";
    let (word, at) = section.required_text("action", right, sink)?;
    let action = match word {
        "accept" => Action::Accept,
        "drop" => Action::Drop,
        "reject" => Action::Reject,
        _ => {
            sink.error(at, format!("rule: unknown action \"{word}\""), format!("write {right}"));
            return None;
        }
    };
    Some(Rule {
        name: None,
        from,
        to,
        action,
        when: Vec::new(),
        until: None,
        file: None,
        line,
    })
}

fn bare(parties: Vec<(Party, Range<usize>)>) -> Vec<Party> {
    parties.into_iter().map(|(party, _)| party).collect()
}

fn ban<'a>(span: Range<usize>, table: &'a DeTable<'a>, sink: &mut Sink) -> Option<Ban> {
    let section = Section::new("ban".to_owned(), span, table, &["address", "until"], sink);
    let until = scalar::time(&section, "until", sink);
    let text = section.required_text("address", "an address or a network", sink)?;
    let network = scalar::network(&section.what, text, sink)?;
    Some(Ban { network, until })
}
