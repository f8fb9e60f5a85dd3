//! What is wrong with a configuration file, where, and what would be right.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The included file that it is in; `None` for the main one.
    pub file: Option<String>,
    /// Line, 1-based.
    pub line: usize,
    /// Column in characters, 1-based.
    pub column: usize,
    /// The offending bytes of the file's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
    /// The offending text may be a secret: it is never shown.
    pub hidden: bool,
}

/// Everything that is wrong, in the order of the texts. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.0))]
pub struct Diagnostics(pub Vec<Diagnostic>);

fn summary(all: &[Diagnostic]) -> String {
    let lines: Vec<String> = all
        .iter()
        .map(|one| {
            let file = one.file.as_ref().map_or_else(String::new, |file| format!("{file}:"));
            format!("{file}{}:{}: {}", one.line, one.column, one.message)
        })
        .collect();
    lines.join("; ")
}

impl Diagnostics {
    /// Each diagnostic with its line of `text`, the offending part underlined. `path` is only printed.
    pub fn display<'a>(&'a self, path: &'a str, text: &'a str) -> impl fmt::Display + 'a {
        Rendered {
            diagnostics: self,
            files: vec![(path, text)],
        }
    }

    /// The same for a configuration in several files, as they were given to [`Config::parse_files`](crate::Config::parse_files).
    pub fn display_files<'a>(&'a self, files: &[(&'a str, &'a str)]) -> impl fmt::Display + 'a {
        Rendered {
            diagnostics: self,
            files: files.to_vec(),
        }
    }
}

struct Rendered<'a> {
    diagnostics: &'a Diagnostics,
    /// Name and text; the main file first.
    files: Vec<(&'a str, &'a str)>,
}

impl<'a> Rendered<'a> {
    fn file(&self, one: &Diagnostic) -> (&'a str, &'a str) {
        let named = one.file.as_deref();
        let mut included = self.files.iter().skip(1);
        let found = match named {
            Some(name) => included.find(|(known, _)| *known == name),
            None => self.files.first(),
        };
        found.copied().unwrap_or_default()
    }
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.diagnostics.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let (path, text) = self.file(one);
            writeln!(f, "{path}:{}:{}: {}", one.line, one.column, one.message)?;
            let excerpt = Excerpt::new(text, one);
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

    /// `Err` when something was found, with lines and columns counted in `texts`.
    pub fn finish(mut self, texts: &Texts<'_>) -> Result<(), Diagnostics> {
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
            let (text, begin) = texts.of(span.start);
            let (line, column) = text.lines.position(text.text, span.start - begin);
            let span = span.start - begin..span.end.saturating_sub(begin);
            Diagnostic {
                file: text.included.clone(),
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

/// The texts of a configuration one behind the other: a place in any of them is a number of bytes from the beginning of the first.
#[derive(Debug)]
pub(crate) struct Texts<'t> {
    texts: Vec<(usize, Text<'t>)>,
}

/// A file of the configuration.
#[derive(Debug)]
pub(crate) struct Text<'t> {
    /// Its name, when it is not the main one.
    pub included: Option<String>,
    pub text: &'t str,
    pub lines: Lines,
}

impl<'t> Texts<'t> {
    /// The main text alone.
    pub fn one(text: &'t str) -> Self {
        Self::of_files(text, &[])
    }

    /// The main text and the included ones with their names.
    pub fn of_files(text: &'t str, included: &[(&str, &'t str)]) -> Self {
        let main = std::iter::once((None, text));
        let mut begin = 0;
        let texts = main.chain(included.iter().map(|(name, text)| (Some((*name).to_owned()), *text)));
        let texts = texts.map(|(included, text)| {
            let here = begin;
            // One more, so that the end of a text is not the beginning of the next.
            begin += text.len() + 1;
            let lines = Lines::new(text);
            (here, Text { included, text, lines })
        });
        Self { texts: texts.collect() }
    }

    /// Every text with the place at which it begins.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Text<'t>)> {
        self.texts.iter().map(|(begin, text)| (*begin, text))
    }

    /// The text that a place is in, and where that begins.
    fn of(&self, place: usize) -> (&Text<'t>, usize) {
        let behind = self.texts.partition_point(|(begin, _)| *begin <= place);
        let (begin, text) = &self.texts[behind.saturating_sub(1)];
        (text, *begin)
    }

    /// The included file of a place, and its line, 1-based.
    pub fn line(&self, place: usize) -> (Option<String>, usize) {
        let (text, begin) = self.of(place);
        (text.included.clone(), text.lines.line(place - begin))
    }

    /// The line of a place in words: `line 3`; where there are several files, `line 3 of rules.d/a.toml`.
    pub fn line_in_words(&self, place: usize) -> String {
        match self.line(place) {
            (None, line) if self.texts.len() > 1 => format!("line {line} of the main file"),
            (None, line) => format!("line {line}"),
            (Some(file), line) => format!("line {line} of {file}"),
        }
    }

    /// What stands there.
    pub fn get(&self, span: Range<usize>) -> Option<&'t str> {
        let (text, begin) = self.of(span.start);
        text.text.get(span.start - begin..span.end.checked_sub(begin)?)
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
