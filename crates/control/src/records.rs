//! Records in the store: JSON at keys whose parts may be any text.

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What was stored at `key`.
pub(crate) fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value)
        .with_context(|| format!("the store's record `{key}` cannot be read; a later version of Fielato may have written it"))
}

/// What to store.
pub(crate) fn write<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record).context("a record cannot be written as JSON")
}

/// A text as one part of a key or a file name: without `/`, never `.` or `..`, and different for different texts.
pub(crate) fn part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for (index, character) in text.char_indices() {
        match character {
            '/' | '%' | '\0'..='\x1f' | '\x7f' => part.push_str(&format!("%{:02X}", u32::from(character))),
            '.' if index == 0 => part.push_str("%2E"),
            _ => part.push(character),
        }
    }
    part
}

/// The text of a [`part`].
pub(crate) fn text(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, escaped)) = rest.split_once('%') {
        text.push_str(before);
        let (code, after) = escaped.split_at_checked(2)?;
        text.push(char::from(u8::from_str_radix(code, 16).ok().filter(u8::is_ascii)?));
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_part_and_come_back() {
        for name in [
            "anna",
            "conf.d/groups.toml",
            "..",
            ".",
            "/etc/x",
            "50%",
            "a\nb",
            "%2F",
            "ü/é",
            "",
        ] {
            let part = part(name);
            assert!(!part.contains(['/', '\n']) && !part.starts_with('.'), "{part}");
            assert_eq!(text(&part).as_deref(), Some(name));
        }
        for bad in ["%", "%2", "%zz", "%FF", "%ü"] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
