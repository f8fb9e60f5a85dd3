//! The configuration file, from the disk to a [`Config`].

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use fielato_policy::edit::{Document, EditError};
use fielato_policy::{Config, Diagnostics, Insertion};

use crate::Paths;

mod include;

/// The name of the configuration file among a policy's files, wherever it stands.
pub const MAIN: &str = "fielato.toml";

/// The configuration file is not one. The text shows each place, what stands there and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// Reads and checks the configuration file, with the files that it includes.
///
/// # Errors
/// [`BadConfig`] with every fault found; an I/O error when a file cannot be read.
pub fn load(paths: &Paths) -> Result<Config> {
    let (_, config) = load_texts(paths)?;
    Ok(config)
}

/// The same, with the texts, for edits.
///
/// # Errors
/// As [`load`].
pub fn load_texts(paths: &Paths) -> Result<(Texts, Config)> {
    let texts = Texts::read(paths)?;
    let config = texts.parse(paths)?;
    Ok((texts, config))
}

/// The configuration file as text, and the files that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The file itself.
    pub main: String,
    /// Path and text of each file that it includes, in order.
    pub included: Vec<(String, String)>,
}

impl Texts {
    /// Reads them.
    ///
    /// # Errors
    /// [`BadConfig`] when what it includes is not there; an I/O error when a file cannot be read.
    pub fn read(paths: &Paths) -> Result<Self> {
        let path = paths.config();
        let main = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; `fielato init` writes a first one", path.display()))?;
        let patterns = fielato_policy::includes(&main);
        let folder = path.parent().unwrap_or(Path::new("."));
        let files = include::files(&patterns, folder, &path);
        let files = files.map_err(|problem| BadConfig(format!("{}: {problem}\n", path.display())))?;
        let mut included = Vec::with_capacity(files.len());
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            included.push((file.display().to_string(), text));
        }
        Ok(Self { main, included })
    }

    fn parse(&self, paths: &Paths) -> Result<Config, BadConfig> {
        let path = paths.config().display().to_string();
        let mut files = vec![(path.as_str(), self.main.as_str())];
        files.extend(self.included());
        Config::parse_files(&files).map_err(|faults| BadConfig(faults.display_files(&files).to_string()))
    }

    /// Everything that is wrong with them; `None` when nothing is.
    pub fn faults(&self, paths: &Paths) -> Option<Diagnostics> {
        let path = paths.config().display().to_string();
        let mut files = vec![(path.as_str(), self.main.as_str())];
        files.extend(self.included());
        Config::parse_files(&files).err()
    }

    /// Parses on a thread of its own, for which the allocator has its own region. A large file's tree takes many times what is kept
    /// of it; here what is kept has no holes where the tree was, and the region is empty afterwards.
    fn parse_to_keep(&self, paths: &Paths) -> Result<Config, BadConfig> {
        let parsed = std::thread::scope(|scope| scope.spawn(|| self.parse(paths)).join());
        let parsed = parsed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(parsed.clone())
    }

    fn included(&self) -> impl Iterator<Item = (&str, &str)> {
        self.included.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// For edits of the file itself.
    pub fn document(&self) -> Document<'_> {
        Document {
            text: &self.main,
            included: self.included().collect(),
        }
    }
}

/// The configuration that is in force, with the texts that it was parsed from: of a file that has grown by a member, only the
/// member is parsed.
#[derive(Debug)]
pub struct Source {
    texts: Texts,
    /// The configuration.
    pub config: Config,
}

/// What a [`Source`] was before it was [refreshed](Source::refresh).
#[derive(Debug)]
pub enum Before {
    /// The same.
    Same,
    /// The same without these members; with the main file's text.
    Without(Box<Insertion>, String),
    /// Something else.
    Other(Box<Source>),
}

impl Before {
    /// The configuration as it was, when more changed than members that were added.
    pub fn config(&self) -> Option<&Config> {
        match self {
            Self::Other(source) => Some(&source.config),
            Self::Same | Self::Without(..) => None,
        }
    }
}

impl Source {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(paths: &Paths) -> Result<Self> {
        let texts = Texts::read(paths)?;
        let config = texts.parse_to_keep(paths)?;
        Ok(Self { texts, config })
    }

    /// From files that were read before: names and texts, the configuration file first.
    ///
    /// # Errors
    /// [`BadConfig`]: another version of Fielato wrote them.
    pub fn of(paths: &Paths, files: Vec<(String, String)>) -> Result<Self> {
        let mut files = files.into_iter();
        let main = files.next().map(|(_, text)| text).context("it has no files")?;
        let included = files.collect();
        let texts = Texts { main, included };
        let config = texts.parse_to_keep(paths)?;
        Ok(Self { texts, config })
    }

    /// Its files: names and texts, the configuration file first.
    pub fn files(&self) -> Vec<(String, String)> {
        let Texts { main, included } = &self.texts;
        let main = std::iter::once((MAIN.to_owned(), main.clone()));
        main.chain(included.iter().cloned()).collect()
    }

    /// Reads the files again. Returns what leads back, for [`Source::restore`].
    ///
    /// # Errors
    /// As [`load`]; nothing has changed then.
    pub fn refresh(&mut self, paths: &Paths) -> Result<Before> {
        let texts = Texts::read(paths)?;
        if texts == self.texts {
            return Ok(Before::Same);
        }
        if texts.included == self.texts.included
            && let Some(insertion) = self.config.insertion(&self.texts.main, &texts.main)
        {
            self.config.insert(&insertion);
            let before = std::mem::replace(&mut self.texts.main, texts.main);
            return Ok(Before::Without(Box::new(insertion), before));
        }
        let config = texts.parse_to_keep(paths)?;
        Ok(Before::Other(Box::new(std::mem::replace(self, Self { texts, config }))))
    }

    /// Edits what is in force, and not the file. Returns what leads back, for [`Source::restore`].
    ///
    /// # Errors
    /// When the edit is refused; nothing has changed then.
    pub fn edit(&mut self, paths: &Paths, edit: impl FnOnce(Document<'_>) -> Result<String, EditError>) -> Result<Before> {
        let main = edit(self.texts.document())?;
        if main == self.texts.main {
            return Ok(Before::Same);
        }
        let texts = Texts {
            main,
            included: self.texts.included.clone(),
        };
        let config = texts.parse_to_keep(paths)?;
        Ok(Before::Other(Box::new(std::mem::replace(self, Self { texts, config }))))
    }

    /// Undoes [`Source::refresh`].
    pub fn restore(&mut self, before: Before) {
        match before {
            Before::Same => {}
            Before::Without(insertion, text) => {
                self.config.take_back(&insertion);
                self.texts.main = text;
            }
            Before::Other(source) => *self = *source,
        }
    }
}
