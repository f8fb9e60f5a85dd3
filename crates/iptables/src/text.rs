//! Numbers and quoted words as iptables reads and writes them.

use std::borrow::Cow;

/// A number in decimal, `0x` hexadecimal or `0` octal, from `min` to `max`, with nothing after it.
pub fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    let (value, rest) = leading_number(text)?;
    (rest.is_empty() && min <= value && value <= max).then_some(value)
}

/// The number that `text` begins with, and what stands after it (C's `strtoull` with base 0, without a minus).
pub fn leading_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let is_hex = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_hexdigit);
    let (radix, digits) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if is_hex(hex) => (16, hex),
        _ if text.starts_with('0') => (8, text),
        _ => (10, text),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    u64::from_str_radix(digits, radix).ok().map(|value| (value, rest))
}

/// A word for a save file, bare as long as it can be read back so. iptables-save writes such words bare always, and then reads a
/// blank in one as the word's end.
pub fn bare(word: &str) -> Cow<'_, str> {
    match word.is_empty() || word.contains([' ', '\t', '"']) {
        true => quoted(word).into(),
        false => word.into(),
    }
}

/// A word for a save file: bare if it has only letters, digits, `_` and `-`, else in double quotes.
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_reads_them() {
        for (text, value) in [
            ("17", Some(17)),
            ("0x1F", Some(31)),
            ("010", Some(8)),
            ("0", Some(0)),
            (" +5", Some(5)),
            ("", None),
            ("-1", None),
            ("09", None),
            ("15a", None),
            ("0x", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(number(text, 0, u64::MAX), value, "{text:?}");
        }
        assert_eq!(number("256", 0, 255), None);
        assert_eq!(number("4294967295", 0, u32::MAX.into()), Some(4_294_967_295));
        assert_eq!(number("4294967296", 0, u32::MAX.into()), None);
        assert_eq!(leading_number("0x10/3"), Some((16, "/3")));
        assert_eq!(leading_number("42-1234"), Some((42, "-1234")));
    }

    #[test]
    fn words_are_quoted_when_they_must() {
        for (word, written) in [("a'b/+", "a'b/+"), ("", "\"\""), ("a b", "\"a b\""), ("\"", r#""\"""#)] {
            assert_eq!(bare(word), written);
        }
        assert_eq!(quoted("abc_-9"), "abc_-9");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("test: "), "\"test: \"");
        assert_eq!(quoted(r#"it's "so" \o/"#), r#""it\'s \"so\" \\o/""#);
    }
}
