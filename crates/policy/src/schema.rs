//! Reading a TOML table key by key: what is unknown, missing or of the wrong type is noted, and reading goes on,
//! so that one run finds every error.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{SECRET_KEYS, Sink, Texts};
use crate::keys::Key;

/// A text and where it stands.
pub(crate) type Text<'a> = (&'a str, Range<usize>);

/// One table of the file with the words for it in messages.
pub(crate) struct Section<'a> {
    /// `member alice`
    pub what: String,
    /// Where its name or header stands.
    pub span: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Notes every key that is not in `known`.
    pub fn new(what: String, span: Range<usize>, table: &'a DeTable<'a>, known: &[Key], sink: &mut Sink) -> Self {
        let section = Self { what, span, table };
        for (key, _) in table {
            let name: &str = key.get_ref();
            if !known.iter().any(|key| key.name == name) {
                unknown_key(&section.what, name, key.span(), known, sink);
            }
        }
        section
    }

    pub fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// Where the value of `key` stands; the section itself when it has none.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub fn missing(&self, key: &str, help: &str, sink: &mut Sink) {
        sink.error(self.span.clone(), format!("{}: {key} is missing", self.what), help);
    }

    pub fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'a>>, right: &str, sink: &mut Sink) {
        let kind = value.get_ref().type_str();
        let article = if matches!(kind, "integer" | "array") { "an" } else { "a" };
        sink.error(
            value.span(),
            format!("{}: {key} is {article} {kind}", self.what),
            format!("write {right}"),
        );
    }

    pub fn text(&self, key: &str, right: &str, sink: &mut Sink) -> Option<Text<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text, value.span())),
            _ => {
                self.wrong_type(key, value, right, sink);
                None
            }
        }
    }

    pub fn required_text(&self, key: &str, right: &str, sink: &mut Sink) -> Option<Text<'a>> {
        if self.value(key).is_none() {
            self.missing(key, &format!("add {key} = {right}"), sink);
        }
        self.text(key, right, sink)
    }

    pub fn flag(&self, key: &str, default: bool, sink: &mut Sink) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, value, "true or false", sink);
            default
        })
    }

    /// An integer within `range`.
    pub fn number(&self, key: &str, range: std::ops::RangeInclusive<u32>, sink: &mut Sink) -> Option<u32> {
        let value = self.value(key)?;
        let right = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(key, value, &right, sink);
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            sink.error(
                value.span(),
                format!("{}: {key} is out of range", self.what),
                format!("use {right}"),
            );
        }
        number
    }

    /// A list of strings, or (with `one`) also a single string.
    pub fn texts(&self, key: &str, one: bool, right: &str, sink: &mut Sink) -> Vec<Text<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => texts.push((&**text, item.span())),
                        _ => self.wrong_type(key, item, "strings in the list", sink),
                    }
                }
                texts
            }
            DeValue::String(text) if one => vec![(text, value.span())],
            _ => {
                self.wrong_type(key, value, right, sink);
                Vec::new()
            }
        }
    }

    pub fn subtable(&self, key: &str, known: &[Key], sink: &mut Sink) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let what = if self.what.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.what)
        };
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(what, value.span(), table, known, sink)),
            _ => {
                self.wrong_type(key, value, &format!("a table, [{what}]"), sink);
                None
            }
        }
    }
}

/// The whole configuration: the top of each of its files.
pub(crate) struct Top<'a> {
    files: Vec<Section<'a>>,
    /// What stands where.
    pub texts: &'a Texts<'a>,
}

impl<'a> Top<'a> {
    /// Notes every key that is not in `known`. Each table comes with the place where its file begins.
    pub fn new(
        roots: impl Iterator<Item = (usize, &'a DeTable<'a>)>,
        texts: &'a Texts<'a>,
        known: &[Key],
        sink: &mut Sink,
    ) -> Self {
        let file = |(begin, root)| Section::new(String::new(), begin..begin, root, known, sink);
        Self {
            files: roots.map(file).collect(),
            texts,
        }
    }

    /// What each file says under `key`.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &'a Spanned<DeValue<'a>>> {
        self.files.iter().filter_map(move |file| file.value(key))
    }

    /// The top of each file, the main one first.
    pub fn files(&self) -> &[Section<'a>] {
        &self.files
    }
}

fn unknown_key(what: &str, name: &str, span: Range<usize>, known: &[Key], sink: &mut Sink) {
    let at = if what.is_empty() { String::new() } else { format!("{what}: ") };
    // Those are told wherever they stand, see `refuse_secrets`.
    if SECRET_KEYS.contains(&name.to_ascii_lowercase().as_str()) {
        return;
    }
    let known = || known.iter().map(|key| key.name);
    let list = known().collect::<Vec<_>>().join(", ");
    let help = match closest(name, known()) {
        Some(near) => format!("did you mean {near}? known: {list}"),
        None => format!("known: {list}"),
    };
    sink.error(span, format!("{at}unknown key {name}"), help);
}

/// The candidate that a person most likely meant: at most a third of the letters differ.
pub(crate) fn closest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let most = (word.chars().count() / 3).max(1);
    let near = candidates.filter(|candidate| candidate.len().abs_diff(word.len()) <= most);
    let scored = near.map(|candidate| (distance(word, candidate), candidate));
    scored
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
