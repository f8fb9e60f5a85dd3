//! Where in the files something stands.

use std::fmt;

use fielato_policy::Config;
use fielato_policy::analyse::About;
use fielato_policy::locate::Tables;

/// A configuration with its main file.
pub struct Places<'a> {
    config: &'a Config,
    file: &'a str,
    tables: Tables,
}

/// A place in a file; the file as a whole when no line is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// 1-based.
    pub line: Option<usize>,
    /// In characters, 1-based.
    pub column: Option<usize>,
}

impl<'a> Places<'a> {
    pub fn of(config: &'a Config, file: &'a str, text: &'a str) -> Self {
        let tables = Tables::of(text);
        Self { config, file, tables }
    }

    pub fn of_about(&self, about: &About) -> Place {
        let table = |kind: &str, name: &str| self.tables.place(kind, name);
        let (file, place) = match about {
            About::Rule(number) => {
                let rule = number.checked_sub(1).and_then(|place| self.config.rules.get(place));
                let file = rule.and_then(|rule| rule.file.clone());
                (file, rule.map(|rule| (rule.line, 1)))
            }
            About::Member(name) => (None, table("member", name)),
            About::Host(name) => (None, table("host", name)),
            About::Service(name) => (None, table("service", name)),
            About::Hub => (None, table("hub", "")),
            About::Machine | About::Policy => (None, None),
        };
        Place {
            file: file.unwrap_or_else(|| self.file.to_owned()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}
