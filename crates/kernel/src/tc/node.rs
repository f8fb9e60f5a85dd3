//! What the kernel is given of the items of a device: disciplines and classes.

use std::fmt;

use fielato_qdisc::{Class, Item, Qdisc};

use super::error::TcError;

/// A discipline or a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node<'a> {
    Qdisc(&'a Qdisc),
    Class(&'a Class),
}

impl<'a> TryFrom<&'a Item> for Node<'a> {
    type Error = TcError;

    fn try_from(item: &'a Item) -> Result<Self, TcError> {
        match item {
            Item::Qdisc(qdisc) => Ok(Node::Qdisc(qdisc)),
            Item::Class(class) => Ok(Node::Class(class)),
            Item::Filter(_) => Err(TcError::Filter { item: item.to_string() }),
        }
    }
}

/// All of them, or why one can't be given to the kernel.
pub fn nodes(items: &[Item]) -> Result<Vec<Node<'_>>, TcError> {
    items.iter().map(Node::try_from).collect()
}

/// As tc's words: those of the item.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Qdisc(qdisc) => write!(f, "qdisc {qdisc}"),
            Node::Class(class) => write!(f, "class {class}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_given_no_filters() {
        let item = |words: &str| words.parse::<Item>().unwrap();
        let items = [
            item("qdisc root handle 1: htb"),
            item("class parent 1: classid 1:10 htb rate 1mbit"),
        ];
        let words: Vec<String> = nodes(&items).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(words, items.map(|item| item.to_string()));
        let filter = item("filter parent 1: matchall classid 1:10");
        let said = nodes(&[filter]).unwrap_err().to_string();
        assert!(
            said.contains("filter parent 1:") && said.contains("`for` in [[shape]]"),
            "{said}"
        );
    }
}
