//! A line of words with their places, and errors that point at one of them.

use crate::units::Unit;

/// A word that tc would not take, or a combination that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where the offending word begins, in bytes; the text's length when a word is missing at its end.
    pub offset: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A word and where it begins.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    pub text: &'a str,
    pub offset: usize,
}

impl Word<'_> {
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            offset: self.offset,
            message: message.into(),
        }
    }

    /// The error for a word that none of `known` is; `what` says what it was taken for.
    pub fn unknown(&self, what: &str, known: &[&str]) -> ParseError {
        let guess = match closest(self.text, known) {
            Some(guess) => format!("; did you mean `{guess}`?"),
            None => String::new(),
        };
        self.error(format!("`{}` is not {what} ({}){guess}", self.text, known.join(", ")))
    }
}

/// Words not read yet.
pub struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Self {
        Words { text, at: 0 }
    }

    pub fn next(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.at = word.offset + word.text.len();
        Some(word)
    }

    pub fn peek(&self) -> Option<Word<'a>> {
        let rest = &self.text[self.at..];
        let text = rest.split_ascii_whitespace().next()?;
        let skipped = rest.len() - rest.trim_ascii_start().len();
        Some(Word {
            text,
            offset: self.at + skipped,
        })
    }

    /// Where the words that were not read yet begin, in bytes.
    pub fn place(&self) -> usize {
        self.at
    }

    /// The error for words that end too early.
    pub fn ended(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            offset: self.text.len(),
            message: message.into(),
        }
    }

    /// The value after `option`.
    pub fn value<T>(&mut self, option: Word<'_>, unit: &Unit<T>) -> Result<T, ParseError> {
        let Some(word) = self.next() else {
            return Err(option.error(format!("`{}` wants {}", option.text, unit.expected)));
        };
        (unit.read)(word.text).ok_or_else(|| {
            word.error(format!(
                "`{}` is not what `{}` wants: {}",
                word.text, option.text, unit.expected
            ))
        })
    }

    /// The value after `option` if what follows begins like a number, as tc decides it.
    pub fn value_if_number<T>(&mut self, option: Word<'_>, unit: &Unit<T>) -> Result<Option<T>, ParseError> {
        match self.peek() {
            Some(word) if word.text.starts_with(|c: char| c.is_ascii_digit()) => self.value(option, unit).map(Some),
            _ => Ok(None),
        }
    }

    /// As [`Words::value_if_number`], for numbers that may have a sign.
    pub fn value_if_signed<T>(&mut self, option: Word<'_>, unit: &Unit<T>) -> Result<Option<T>, ParseError> {
        match self.peek() {
            Some(word) if word.text.starts_with('-') => self.value(option, unit).map(Some),
            _ => self.value_if_number(option, unit),
        }
    }

    /// The next word if it is `wanted`.
    pub fn take(&mut self, wanted: &str) -> Option<Word<'a>> {
        self.peek().filter(|word| word.text == wanted)?;
        self.next()
    }

    /// Puts the value after `option` into an empty `slot`.
    pub fn fill<T>(&mut self, slot: &mut Option<T>, option: Word<'_>, unit: &Unit<T>) -> Result<(), ParseError> {
        let value = self.value(option, unit)?;
        put(slot, option, value)
    }
}

/// Puts `value` into an empty `slot`; `option` is blamed for a second one.
pub fn put<T>(slot: &mut Option<T>, option: Word<'_>, value: T) -> Result<(), ParseError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(option.error(format!("`{}` sets what was set before", option.text))),
    }
}

/// The known word that `word` was probably meant to be.
fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = |name: &&str| distance(&word, name);
    known
        .iter()
        .copied()
        .min_by_key(near)
        .filter(|name| near(name) <= 1 + name.len() / 4)
}

/// How many letters must be added, left out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && (x, a[i - 1]) == (&b[j - 1], *y) {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_their_places() {
        let mut words = Words::new("  root\tnetem ");
        let places: Vec<_> = std::iter::from_fn(|| words.next())
            .map(|word| (word.text, word.offset))
            .collect();
        assert_eq!(places, [("root", 2), ("netem", 7)]);
    }

    #[test]
    fn a_typing_error_finds_its_word() {
        let known = ["pfifo", "fq_codel", "netem"];
        assert_eq!(closest("nettem", &known), Some("netem"));
        assert_eq!(closest("fqcodel", &known), Some("fq_codel"));
        assert_eq!(closest("NETEM", &known), Some("netem"));
        assert_eq!(closest("hfsc", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("dts", "dst"), distance("", "ab"), distance("ab", "")), (1, 2, 2));
    }
}
