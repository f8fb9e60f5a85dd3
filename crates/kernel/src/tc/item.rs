//! A discipline or a class: what is added to a device, one after the other.

use std::fmt;
use std::str::FromStr;

use fielato_qdisc::{Class, ParseError, Qdisc};

/// A discipline or a class. As text: `qdisc root handle 1: htb`, `class parent 1: classid 1:10 htb rate 10mbit`.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `tc qdisc add dev DEV …`
    Qdisc(Qdisc),
    /// `tc class add dev DEV …`
    Class(Class),
}

/// Why a text is no [`Item`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Neither of the two.
    #[error("{0:?} begins with neither `qdisc` nor `class`")]
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
        }
    }
}

impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        match text.trim_ascii_start().split_once(char::is_whitespace) {
            Some(("qdisc", words)) => Ok(Item::Qdisc(fielato_qdisc::qdisc(words)?)),
            Some(("class", words)) => Ok(Item::Class(fielato_qdisc::class(words)?)),
            _ => Err(ItemError::Object(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_read_back_as_the_same() {
        for text in [
            "qdisc root handle 1: htb default 0x30",
            "class parent 1: classid 1:10 htb rate 10mbit",
            "qdisc root netem delay 1s",
        ] {
            assert_eq!(text.parse::<Item>().unwrap().to_string(), text);
        }
        assert!(matches!("root netem".parse::<Item>(), Err(ItemError::Object(_))));
        assert!(matches!("qdisc root nettem".parse::<Item>(), Err(ItemError::Words(_))));
    }
}
