//! tc's words, as `fielato_qdisc` reads them.

use fielato_qdisc::{Class, Qdisc};

/// A word that tc would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordError {
    /// Byte in the words.
    pub offset: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What follows `tc qdisc add dev DEV`.
pub(crate) fn qdisc(words: &str) -> Result<Qdisc, WordError> {
    Err(unread(words))
}

/// What follows `tc class add dev DEV`.
pub(crate) fn class(words: &str) -> Result<Class, WordError> {
    Err(unread(words))
}

fn unread(words: &str) -> WordError {
    WordError {
        offset: 0,
        message: format!("cannot read \"{words}\" yet"),
    }
}
