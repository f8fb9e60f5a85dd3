//! What hangs on a device, one after the other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::{Class, Filter, Qdisc};
use crate::words::ParseError;

/// A discipline, a class or a filter. As text: `qdisc root handle 1: htb`, `filter parent 1: matchall classid 1:10`.
///
/// Serialized it is a structure, which brings the tables that netem's distributions name. What can't be written in tc's words
/// (65,537 queues, a probability of 101%) is not read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub enum Item {
    /// `tc qdisc add dev DEV …`
    Qdisc(Qdisc),
    /// `tc class add dev DEV …`
    Class(Class),
    /// `tc filter add dev DEV …`
    Filter(Filter),
}

/// An item whose numbers nobody has looked at.
#[derive(Deserialize)]
enum Unchecked {
    Qdisc(Qdisc),
    Class(Class),
    Filter(Filter),
}

impl TryFrom<Unchecked> for Item {
    type Error = ItemError;

    fn try_from(unchecked: Unchecked) -> Result<Self, ItemError> {
        let item = match unchecked {
            Unchecked::Qdisc(qdisc) => Item::Qdisc(qdisc),
            Unchecked::Class(class) => Item::Class(class),
            Unchecked::Filter(filter) => Item::Filter(filter),
        };
        // The limits are those of the words. A table was checked when it was read, so any will do.
        Item::parse_with_tables(&item.to_string(), &mut |_| Ok("0".to_owned()))?;
        Ok(item)
    }
}

/// Why a text is no [`Item`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Neither of the three.
    #[error("{0:?} begins with none of `qdisc`, `class`, `filter`")]
    Object(String),
    /// Not tc's words.
    #[error(transparent)]
    Words(#[from] ParseError),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Qdisc(qdisc) => write!(f, "qdisc {qdisc}"),
            Item::Class(class) => write!(f, "class {class}"),
            Item::Filter(filter) => write!(f, "filter {filter}"),
        }
    }
}

impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        Item::parse_with_tables(text, &mut |_| Err(String::new()))
    }
}

impl Item {
    /// As [`Item::from_str`]; netem's `distribution NAME` may also name a table, whose text `tables` gives.
    ///
    /// # Errors
    /// When it is none, or a table can't be read.
    pub fn parse_with_tables(text: &str, tables: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, ItemError> {
        match text.trim_ascii_start().split_once(char::is_whitespace) {
            Some(("qdisc", words)) => Ok(Item::Qdisc(crate::qdisc_with_tables(words, tables)?)),
            Some(("class", words)) => Ok(Item::Class(crate::class(words)?)),
            Some(("filter", words)) => Ok(Item::Filter(crate::filter(words)?)),
            _ => Err(ItemError::Object(text.to_owned())),
        }
    }
}
