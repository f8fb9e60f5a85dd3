//! Where the tables of a file stand.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::Lines;
use crate::parse::Plain;

/// Line and column of every `[KIND.NAME]` of a file.
#[derive(Debug, Clone, Default)]
pub struct Tables(HashMap<(String, String), (usize, usize)>);

impl Tables {
    /// Of what can be read of a text.
    pub fn of(text: &str) -> Tables {
        let lines = Lines::new(text);
        let mut places = HashMap::new();
        let plain = Plain::of(text, 0);
        let (mut root, errors) = DeTable::parse_recoverable(plain.as_ref().map_or(text, |plain| &plain.rest));
        if !errors.is_empty() {
            (root, _) = DeTable::parse_recoverable(text);
        }
        for (kind, value) in root.get_ref() {
            let DeValue::Table(tables) = value.get_ref() else { continue };
            let kind_name = kind.get_ref().to_string();
            for (name, _) in tables {
                let place = lines.position(text, name.span().start);
                places.insert((kind_name.clone(), name.get_ref().to_string()), place);
            }
            places.insert((kind_name, String::new()), lines.position(text, kind.span().start));
        }
        Tables(places)
    }

    /// Line and column, 1-based, of the name in `[KIND.NAME]`; of `[KIND]` when the name is empty.
    pub fn place(&self, kind: &str, name: &str) -> Option<(usize, usize)> {
        self.0.get(&(kind.to_owned(), name.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sections() {
        let text = "# first\n[hub]\nmtu = 1\n  [member.alice]\na = 1\n[member.\"bo.b\"]\nb = 2\n[host]\nc = { d = 1 }\n";
        let tables = Tables::of(text);
        assert_eq!(tables.place("hub", ""), Some((2, 2)));
        assert_eq!(tables.place("member", "alice"), Some((4, 11)));
        assert_eq!(tables.place("member", "bo.b"), Some((6, 9)));
        assert_eq!(tables.place("host", "c"), Some((9, 1)));
        assert_eq!(tables.place("member", "carol"), None);
        assert_eq!(Tables::of("[[[").place("hub", ""), None);
    }
}
