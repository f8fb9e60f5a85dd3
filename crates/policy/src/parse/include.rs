//! `include`: a configuration in several files.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::diagnostic::Sink;
use crate::schema::Top;

/// The patterns under `include` at the top of a main file, in their order: what to give to
/// [`Config::parse_files`](crate::Config::parse_files) behind it. What is wrong with them, or with the rest, is found there.
pub fn includes(text: &str) -> Vec<String> {
    // What stands before the first table is the top; where a line with a bracket begins no table, there is an error before it.
    let (mut root, errors) = DeTable::parse_recoverable(text.get(..first_bracket(text)).unwrap_or(text));
    if !errors.is_empty() {
        (root, _) = DeTable::parse_recoverable(text);
    }
    let Some(value) = root.get_ref().get("include") else {
        return Vec::new();
    };
    let texts = match value.get_ref() {
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_str()).collect(),
        value => value.as_str().into_iter().collect::<Vec<_>>(),
    };
    texts.into_iter().map(str::to_owned).collect()
}

/// Where the first line with a bracket at its beginning begins.
fn first_bracket(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            break;
        }
        at += line.len();
    }
    at
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_top_alone() {
        let cases: [(&str, &[&str]); 7] = [
            ("include = [\"a\", \"b\"]\n[hub]\n", &["a", "b"]),
            ("include = [\n\"a\"\n]\n[hub]\n", &["a"]),
            ("x = [\n[1]\n]\ninclude = \"a\"\n[hub]\n", &["a"]),
            ("x = \"\"\"\n[hub]\n\"\"\"\ninclude = \"a\"\n", &["a"]),
            ("include = \"a\"", &["a"]),
            ("[hub]\ninclude = \"a\"\n", &[]),
            ("", &[]),
        ];
        for (text, wanted) in cases {
            assert_eq!(includes(text), wanted, "{text}");
        }
    }
}
