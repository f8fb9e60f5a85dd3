//! `include`: a configuration in several files.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::diagnostic::Sink;
use crate::schema::Top;

/// The patterns under `include` at the top of a main file, in their order: what to give to
/// [`Config::parse_files`](crate::Config::parse_files) behind it. What is wrong with them, or with the rest, is found there.
pub fn includes(text: &str) -> Vec<String> {
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(value) = root.get_ref().get("include") else {
        return Vec::new();
    };
    let texts = match value.get_ref() {
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_str()).collect(),
        value => value.as_str().into_iter().collect::<Vec<_>>(),
    };
    texts.into_iter().map(str::to_owned).collect()
}

/// Notes what is wrong with `include` itself.
pub fn check(top: &Top<'_>, sink: &mut Sink) {
    let right = "a list of patterns, such as [\"rules.d/*.toml\"]";
    for (number, file) in top.files().iter().enumerate() {
        if number > 0 && file.value("include").is_some() {
            let span = file.span_of("include");
            sink.error(span, "an included file includes others", "name them in the main file");
            continue;
        }
        for (pattern, span) in file.texts("include", true, right, sink) {
            if pattern.is_empty() {
                sink.error(span, "include: an empty pattern", format!("write {right}"));
            }
        }
    }
}

/// A file's tree with its places moved by so many bytes.
pub fn moved<'t>(table: DeTable<'t>, by: usize) -> DeTable<'t> {
    if by == 0 {
        return table;
    }
    let entries = table.into_iter();
    entries
        .map(|(key, value)| {
            (
                shifted(key, by, |name| name),
                shifted(value, by, |value| moved_value(value, by)),
            )
        })
        .collect()
}

fn moved_value(value: DeValue<'_>, by: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            for item in items {
                array.push(shifted(item, by, |item| moved_value(item, by)));
            }
            DeValue::Array(array)
        }
        plain => plain,
    }
}

fn shifted<T>(spanned: Spanned<T>, by: usize, change: impl FnOnce(T) -> T) -> Spanned<T> {
    let span = spanned.span();
    Spanned::new(span.start + by..span.end + by, change(spanned.into_inner()))
}
