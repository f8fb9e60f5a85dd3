//! Rules that are written plainly: known keys, each a string or a list of strings on one line. Of a large policy these are nearly
//! all, and they are read without a tree of the whole file.
//!
//! The bodies of such rules are taken out of the text before it is parsed, and their headers stay, so that the parser still sees
//! where they stand: were a header in the middle of something else, it would be an error, and then the text is parsed as it is.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A text without the bodies of its plain rules.
pub struct Plain<'t> {
    /// As long as the text; everything that remains stands where it stood.
    pub rest: String,
    /// The rules, in order.
    pub rules: Vec<PlainRule<'t>>,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct PlainRule<'t> {
    /// Where its header begins.
    pub begin: usize,
    /// What stands behind the header's line, and where that begins.
    body: (usize, &'t str),
}

const HEADER: &str = "[[rule]]";
/// Of the keys of a rule those with nothing but texts.
const KEYS: [&str; 4] = ["from", "to", "action", "name"];

impl<'t> Plain<'t> {
    /// `text` begins `begin` bytes behind the beginning of all texts. `None` when it has no plain rules.
    pub fn of(text: &'t str, begin: usize) -> Option<Plain<'t>> {
        // What looks like a rule within a text of several lines is none.
        if text.contains("\"\"\"") || text.contains("'''") {
            return None;
        }
        let mut found: Vec<PlainRule<'t>> = Vec::new();
        let mut rest = String::with_capacity(text.len());
        let mut headers: Vec<Header> = Headers { text, at: 0 }.collect();
        let (mut next, mut more) = (text.len(), false);
        for header in headers.iter_mut().rev() {
            header.next = next;
            next = header.begin;
            header.more = more;
            let kind = HeaderKind::of(text.get(header.begin..header.line_end).unwrap_or_default());
            header.is_rule = kind == HeaderKind::Rule;
            more = kind == HeaderKind::OfRule || more && kind != HeaderKind::Rule;
        }
        for header in headers.into_iter().filter(|header| header.is_rule && !header.more) {
            let Header {
                begin: header,
                line_end,
                next,
                ..
            } = header;
            let Some(body) = text.get(line_end..next).filter(|body| is_plain(body)) else {
                continue;
            };
            found.push(PlainRule {
                begin: begin + header,
                body: (begin + line_end, body),
            });
            rest.push_str(text.get(rest.len()..line_end).unwrap_or_default());
            // The header of the next is on a line of its own.
            let blank = body.len() - usize::from(body.ends_with('\n'));
            rest.extend(std::iter::repeat_n(' ', blank));
            rest.push_str(body.get(blank..).unwrap_or_default());
        }
        rest.push_str(text.get(rest.len()..).unwrap_or_default());
        (!found.is_empty()).then_some(Plain { rest, rules: found })
    }
}

/// A line that begins with `[`.
struct Header {
    begin: usize,
    /// With its line break.
    line_end: usize,
    /// Where the next one begins.
    next: usize,
    is_rule: bool,
    /// Before the next rule there is something that may belong to this one.
    more: bool,
}

#[derive(PartialEq, Eq)]
enum HeaderKind {
    Rule,
    /// What may belong to the rule before it: `[rule.when]`, however it is spelled.
    OfRule,
    Other,
}

impl HeaderKind {
    fn of(line: &str) -> HeaderKind {
        let name = line.trim_start_matches('[');
        match line.trim() {
            HEADER => HeaderKind::Rule,
            _ if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.starts_with("rule") => HeaderKind::OfRule,
            _ => HeaderKind::Other,
        }
    }
}

struct Headers<'t> {
    text: &'t str,
    at: usize,
}

impl Iterator for Headers<'_> {
    type Item = Header;

    fn next(&mut self) -> Option<Header> {
        loop {
            let line = self.text.get(self.at..)?.split_inclusive('\n').next()?;
            let begin = self.at + line.len() - line.trim_start_matches([' ', '\t']).len();
            self.at += line.len();
            if self.text.as_bytes().get(begin) == Some(&b'[') {
                return Some(Header {
                    begin,
                    line_end: self.at,
                    next: self.at,
                    is_rule: false,
                    more: false,
                });
            }
        }
    }
}

fn is_plain(body: &str) -> bool {
    let mut known = [false; KEYS.len()];
    body.split_inclusive('\n').all(|line| match Line::of(line, 0) {
        Some(Line::Nothing) => true,
        Some(Line::Value { key, .. }) => KEYS
            .iter()
            .position(|name| *name == key.get_ref().as_ref())
            .and_then(|place| known.get_mut(place))
            .is_some_and(|known| !std::mem::replace(known, true)),
        None => false,
    })
}

impl<'t> PlainRule<'t> {
    /// What a parser would have made of it.
    pub fn table(&self) -> DeTable<'t> {
        let (mut at, body) = self.body;
        let mut table = DeTable::new();
        for line in body.split_inclusive('\n') {
            if let Some(Line::Value { key, value }) = Line::of(line, at) {
                table.insert(key, value);
            }
            at += line.len();
        }
        table
    }
}

/// A line of a rule.
enum Line<'t> {
    /// Empty, or a comment.
    Nothing,
    /// `key = "text"` or `key = ["text", "text"]`
    Value {
        key: Spanned<Cow<'t, str>>,
        value: Spanned<DeValue<'t>>,
    },
}

impl<'t> Line<'t> {
    /// `None` when there is anything else in it.
    fn of(line: &'t str, at: usize) -> Option<Line<'t>> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut cursor = Cursor {
            text: line,
            place: 0,
            at,
        };
        cursor.skip_blanks();
        if cursor.ends()? {
            return Some(Line::Nothing);
        }
        let key = cursor.word()?;
        cursor.skip_blanks();
        cursor.skip('=')?;
        cursor.skip_blanks();
        let value = cursor.value()?;
        cursor.skip_blanks();
        cursor.ends()?.then_some(Line::Value { key, value })
    }
}

/// A place in a line.
struct Cursor<'t> {
    text: &'t str,
    place: usize,
    /// Where the line begins.
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.place..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.place += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn skip(&mut self, wanted: char) -> Option<()> {
        self.rest().starts_with(wanted).then(|| self.place += wanted.len_utf8())
    }

    /// Whether nothing but a comment follows; `None` for a comment that TOML has not.
    fn ends(&self) -> Option<bool> {
        let rest = self.rest();
        match rest.strip_prefix('#') {
            Some(comment) => (!comment.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')).then_some(true),
            None => Some(rest.is_empty()),
        }
    }

    fn span(&self, begin: usize) -> Range<usize> {
        self.at + begin..self.at + self.place
    }

    fn word(&mut self) -> Option<Spanned<Cow<'t, str>>> {
        let begin = self.place;
        let rest = self.rest();
        let length = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        self.place += length;
        let word = rest.get(..length).filter(|word| !word.is_empty())?;
        Some(Spanned::new(self.span(begin), Cow::Borrowed(word)))
    }

    fn value(&mut self) -> Option<Spanned<DeValue<'t>>> {
        let begin = self.place;
        if self.skip('[').is_none() {
            return self.string();
        }
        let mut items = DeArray::new();
        loop {
            self.skip_blanks();
            if self.skip(']').is_some() {
                return Some(Spanned::new(self.span(begin), DeValue::Array(items)));
            }
            if !items.is_empty() {
                // Between two there is a comma, and there may be one behind the last.
                self.skip(',')?;
                self.skip_blanks();
                if self.skip(']').is_some() {
                    return Some(Spanned::new(self.span(begin), DeValue::Array(items)));
                }
            }
            items.push(self.string()?);
        }
    }

    /// In double quotes, without escapes.
    fn string(&mut self) -> Option<Spanned<DeValue<'t>>> {
        let begin = self.place;
        self.skip('"')?;
        let rest = self.rest();
        let length = rest
            .bytes()
            .position(|byte| byte == b'"' || byte == b'\\' || byte.is_ascii_control())?;
        self.place += length;
        self.skip('"')?;
        let text = rest.get(..length)?;
        Some(Spanned::new(self.span(begin), DeValue::String(Cow::Borrowed(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of which some make plain rules and some anything else.
    const LINES: [&str; 34] = [
        "[[rule]]\n",
        "[[rule]]\n",
        "[[rule]]\r\n",
        "  [[rule]] \n",
        "[[rule]] # the next\n",
        "[ [rule]]\n",
        "[[rule]]",
        "from = \"staff\"\n",
        "from=[\"a\",\"b\"]\r\n",
        "\tto = [ \"ä\", \"b\" , ] # both\n",
        "to = []\n",
        "to = [,]\n",
        "to = [\"a\" \"b\"]\n",
        "to = [\n\"a\",\n]\n",
        "action = \"accept\"\n",
        "action = 'accept'\n",
        "action = \"dr\\u006fp\"\n",
        "name = \"\"\n",
        "name = \"a\tb\"\n",
        "name = 7\n",
        "name = \"\"\"\n[[rule]]\nfrom = \"x\"\n\"\"\"\n",
        "names = \"x\"\n",
        "rule.from = \"x\"\n",
        "when = { days = \"mon\" }\n",
        "# a comment\n",
        "# a \u{1} comment\n",
        "\n",
        "   \n",
        "[rule.when]\ndays = \"mon\"\n",
        "[ rule . when ]\n",
        "[[rule.when]]\n",
        "[[test]]\nfrom = \"a\"\n",
        "[member.a]\nfrom = \"a\"\n",
        "x = [\n[[rule]]\n]\n",
    ];

    /// What is read of a text without its plain rules, and of these, is what is read of the text.
    #[test]
    fn as_the_parser_reads_it() {
        let mut rng = fastrand::Rng::with_seed(9);
        let (mut plain_rules, mut others) = (0, 0);
        for _ in 0..40_000 {
            let text: String = (0..rng.usize(1..9)).map(|_| LINES[rng.usize(..LINES.len())]).collect();
            let Some(plain) = Plain::of(&text, 0) else { continue };
            assert_eq!(plain.rest.len(), text.len());
            let (whole, whole_errors) = DeTable::parse_recoverable(&text);
            let (rest, errors) = DeTable::parse_recoverable(&plain.rest);
            if !errors.is_empty() {
                continue;
            }
            assert!(whole_errors.is_empty(), "{text}\n{whole_errors:?}");
            let mut rest = rest.into_inner();
            let mut rules = plain.rules.iter().peekable();
            if let Some(DeValue::Array(items)) = rest.get_mut("rule").map(Spanned::get_mut) {
                for item in items.iter_mut() {
                    let begin = item.span().start;
                    if let Some(rule) = rules.next_if(|rule| rule.begin == begin) {
                        assert!(item.get_ref().as_table().unwrap().is_empty(), "{text}");
                        *item.get_mut() = DeValue::Table(rule.table());
                        plain_rules += 1;
                    } else {
                        others += 1;
                    }
                }
            }
            assert!(rules.next().is_none(), "{text}");
            assert_eq!(format!("{rest:?}"), format!("{:?}", whole.get_ref()), "{text}");
        }
        assert!(plain_rules > 1000 && others > 500, "{plain_rules} {others}");
    }

    #[test]
    fn what_is_taken_out() {
        let text = "[hub]\n[[rule]]\nfrom = \"a\"\nto = [\"b\"] # why\n\n[[rule]]\nfrom = 'a'\n[[rule]]\nto = \"c\"";
        let plain = Plain::of(text, 100).unwrap();
        assert_eq!(plain.rules.iter().map(|rule| rule.begin).collect::<Vec<_>>(), [106, 164]);
    }
}
