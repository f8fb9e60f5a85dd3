//! Where in the files something stands.

use std::fmt;

use fielato_control::source::Texts;
use fielato_policy::Config;
use fielato_policy::analyse::About;
use fielato_policy::locate::Tables;

/// A configuration with its files.
pub struct Places<'a> {
    config: &'a Config,
    /// The main one's name.
    main: &'a str,
    /// Of each file its name, when it is not the main one, and where its tables are.
    files: Vec<(Option<&'a str>, Tables)>,
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
    pub fn of(config: &'a Config, main: &'a str, texts: &'a Texts) -> Self {
        let included = texts
            .included
            .iter()
            .map(|(name, text)| (Some(name.as_str()), Tables::of(text)));
        let files = std::iter::once((None, Tables::of(&texts.main))).chain(included);
        Self {
            config,
            main,
            files: files.collect(),
        }
    }

    pub fn of_about(&self, about: &About) -> Place {
        let table = |kind: &str, name: &str| {
            let mut files = self.files.iter();
            let found = files.find_map(|(file, tables)| Some((*file, tables.place(kind, name)?)));
            found.map_or((None, None), |(file, place)| (file.map(str::to_owned), Some(place)))
        };
        let (file, place) = match about {
            About::Rule(number) => {
                let rule = number.checked_sub(1).and_then(|place| self.config.rules.get(place));
                let file = rule.and_then(|rule| rule.file.clone());
                (file, rule.map(|rule| (rule.line, 1)))
            }
            About::Member(name) => table("member", name),
            About::Host(name) => table("host", name),
            About::Service(name) => table("service", name),
            About::Hub => table("hub", ""),
            About::Machine | About::Policy => (None, None),
        };
        Place {
            file: file.unwrap_or_else(|| self.main.to_owned()),
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
