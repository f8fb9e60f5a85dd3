//! A line of a save file cut into words.

use std::borrow::Cow;

use crate::error::Error;

/// Most words of a line, and most bytes of a word.
const MAX_WORDS: usize = 254;
const MAX_WORD: usize = 1023;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) text: Cow<'a, str>,
    /// It stood in quotes, at least in part.
    pub(crate) quoted: bool,
}

/// The words of a line: parted by spaces and tabs; double quotes hold a word together, in them a backslash makes the next
/// character plain. A closing quote ends the word.
pub(crate) fn split(line: &str) -> Result<Vec<Word<'_>>, Error> {
    let mut words = Vec::with_capacity(16);
    let mut rest = line.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        // All three are ASCII, so the place is a character's.
        let end = rest.bytes().position(|byte| matches!(byte, b' ' | b'\t' | b'"'));
        let end = end.unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let (text, quoted) = match after.strip_prefix('"') {
            None => {
                rest = after;
                (Cow::Borrowed(word), false)
            }
            Some(inside) => {
                let (quoted, after) = unquote(inside);
                rest = after;
                let closed = !quoted.open;
                let text = format!("{word}{}", quoted.text);
                // An open quote at the end of the line: what is in it counts, unless it is empty.
                if text.is_empty() && !closed {
                    break;
                }
                (Cow::Owned(text), closed)
            }
        };
        if text.len() > MAX_WORD {
            return Err(Error::Parameter("Parameter too long!".to_owned()));
        }
        if words.len() >= MAX_WORDS {
            return Err(Error::Parameter("Parser cannot handle more arguments".to_owned()));
        }
        words.push(Word { text, quoted });
        rest = rest.trim_start_matches([' ', '\t']);
    }
    Ok(words)
}

struct Quoted {
    text: String,
    open: bool,
}

/// Text up to the closing quote, and what comes after it.
fn unquote(inside: &str) -> (Quoted, &str) {
    let mut text = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Quoted { text, open: false }, inside.get(at + 1..).unwrap_or("")),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    (Quoted { text, open: true }, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut() {
        for (line, words) in [
            ("-A INPUT\t-j  X ", &["-A", "INPUT", "-j", "X"][..]),
            (r#"--comment "a b" -j X"#, &["--comment", "a b", "-j", "X"]),
            (r#"--x "a \"b\" \\ c""#, &["--x", r#"a "b" \ c"#]),
            (r#"a"b c"d e"#, &["ab c", "d", "e"]),
            (r#"--log-prefix "" -j"#, &["--log-prefix", "", "-j"]),
            (r#"x "open end"#, &["x", "open end"]),
            (r#"x ""#, &["x"]),
            (r#"x """#, &["x", ""]),
            (r"a\b 'c d'", &[r"a\b", "'c", "d'"]),
            ("", &[]),
        ] {
            let split: Vec<_> = split(line).unwrap().into_iter().map(|word| word.text).collect();
            assert_eq!(split, words, "{line}");
        }
        assert!(split(&"x".repeat(1024)).is_err());
        assert!(split(&"x ".repeat(255)).is_err());
    }
}
