//! What is wrong with a configuration file, where, and what would be right.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line, 1-based.
    pub line: usize,
    /// Column in characters, 1-based.
    pub column: usize,
    /// The offending bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
    /// The offending text may be a secret: it is never shown.
    pub hidden: bool,
}

/// Everything that is wrong, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.0))]
pub struct Diagnostics(pub Vec<Diagnostic>);

fn summary(all: &[Diagnostic]) -> String {
    let lines: Vec<String> = all
        .iter()
        .map(|one| format!("{}:{}: {}", one.line, one.column, one.message))
        .collect();
    lines.join("; ")
}

impl Diagnostics {
    /// Each diagnostic with its line of `text`, the offending part underlined. `path` is only printed.
    pub fn display<'a>(&'a self, path: &'a str, text: &'a str) -> impl fmt::Display + 'a {
        Rendered {
            diagnostics: self,
            path,
            text,
        }
    }
}

struct Rendered<'a> {
    diagnostics: &'a Diagnostics,
    path: &'a str,
    text: &'a str,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.diagnostics.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}:{}:{}: {}", self.path, one.line, one.column, one.message)?;
            let excerpt = Excerpt::new(self.text, one);
            writeln!(f, "{:>5} | {}", one.line, excerpt.line)?;
            let gap = " ".repeat(one.column - 1);
            write!(f, "      | {gap}{}", "^".repeat(excerpt.width))?;
            if !one.help.is_empty() {
                write!(f, " {}", one.help)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The line that a diagnostic points into, safe to print.
struct Excerpt {
    line: String,
    /// Characters to underline.
    width: usize,
}

impl Excerpt {
    fn new(text: &str, one: &Diagnostic) -> Self {
        let line = text.lines().nth(one.line - 1).unwrap_or_default();
        let column = one.column - 1;
        let visible = visible_prefix(line);
        let visible = if one.hidden {
            visible.min(nth_byte(line, column))
        } else {
            visible
        };
        let mut shown: String = line[..visible].replace('\t', " ");
        let covered = text
            .get(one.span.clone())
            .and_then(|part| part.lines().next())
            .unwrap_or_default()
            .chars()
            .count();
        let rest = shown.chars().count().saturating_sub(column);
        if visible < line.len() {
            shown.push('…');
        }
        Self {
            width: covered.min(rest).max(1),
            line: shown,
        }
    }
}

fn nth_byte(line: &str, chars: usize) -> usize {
    line.char_indices().nth(chars).map_or(line.len(), |(byte, _)| byte)
}

/// Bytes of a line that may be shown: a line that assigns a secret is cut after the `=`, whatever
/// else is wrong on it, and one with a key under a misspelt name before the key.
fn visible_prefix(line: &str) -> usize {
    // ASCII lower case keeps every byte in its place.
    let lower = line.to_ascii_lowercase();
    let secret = SECRET_KEYS
        .iter()
        .filter_map(|key| lower.find(key).map(|at| at + key.len()))
        .min();
    let named = secret.map_or(line.len(), |at| line[at..].find('=').map_or(at, |equals| at + equals + 1));
    named.min(unnamed_key(line).unwrap_or(line.len()))
}

/// Where something stands that is as long as a key: 43 characters of base64 and a `=`.
fn unnamed_key(line: &str) -> Option<usize> {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    let mut begin = 0;
    for word in line.split_inclusive(|c| !base64(c)) {
        // The end of the line, or whatever follows, is taken for a `=` that was lost.
        if word.trim_end_matches(|c| !base64(c)).len() == 43 {
            return Some(begin);
        }
        begin += word.len();
    }
    None
}

/// Keys whose values are secrets, in the spellings of this file and of wg-quick.
pub(crate) const SECRET_KEYS: [&str; 7] = [
    "psk",
    "private_key",
    "preshared_key",
    "private-key",
    "preshared-key",
    "privatekey",
    "presharedkey",
];

/// Collects diagnostics while a text is read.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    span: Range<usize>,
    message: String,
    help: String,
    hidden: bool,
}

impl Sink {
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Found {
            span,
            message: message.into(),
            help: help.into(),
            hidden: false,
        });
    }

    /// An error whose offending text may be a secret.
    pub fn hidden(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Found {
            span,
            message: message.into(),
            help: help.into(),
            hidden: true,
        });
    }

    /// `Err` when something was found, with lines and columns counted in `text`.
    pub fn finish(mut self, text: &str, lines: &Lines) -> Result<(), Diagnostics> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|found| (found.span.start, found.span.end));
        let place = |found: Found| {
            let Found {
                span,
                message,
                help,
                hidden,
            } = found;
            let (line, column) = lines.position(text, span.start);
            Diagnostic {
                line,
                column,
                span,
                message,
                help,
                hidden,
            }
        };
        Err(Diagnostics(self.found.into_iter().map(place).collect()))
    }
}

/// Where each line of a text begins.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub fn new(text: &str) -> Self {
        let after = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// The line of a byte, 1-based.
    pub fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte)
    }

    /// Line and column (in characters) of a byte, 1-based.
    pub fn position(&self, text: &str, byte: usize) -> (usize, usize) {
        let line = self.line(byte);
        let start = self.starts[line - 1];
        let column = text.get(start..byte).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}
