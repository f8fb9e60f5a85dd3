//! The configuration file, from the disk to a [`Config`].

use std::fs;

use anyhow::{Context as _, Result};
use fielato_policy::edit::EditError;
use fielato_policy::{Config, Insertion};

use crate::Paths;

/// The name of the configuration file among a policy's files, wherever it stands.
pub const MAIN: &str = "fielato.toml";

/// The configuration file is not one. The text shows each place, what stands there and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// Reads and checks the configuration file.
///
/// # Errors
/// [`BadConfig`] with every fault found; an I/O error when the file cannot be read.
pub fn load(paths: &Paths) -> Result<Config> {
    let (_, config) = load_text(paths)?;
    Ok(config)
}

/// The same, with the text, for edits.
///
/// # Errors
/// As [`load`].
pub fn load_text(paths: &Paths) -> Result<(String, Config)> {
    let text = read(paths)?;
    let config = parse(paths, &text)?;
    Ok((text, config))
}

fn read(paths: &Paths) -> Result<String> {
    let path = paths.config();
    fs::read_to_string(&path).with_context(|| format!("cannot read {}; `fielato init` writes a first one", path.display()))
}

fn parse(paths: &Paths, text: &str) -> Result<Config, BadConfig> {
    let path = paths.config().display().to_string();
    Config::parse(text).map_err(|faults| BadConfig(faults.display(&path, text).to_string()))
}

/// Parses on a thread of its own, for which the allocator has its own region. A large file's tree takes many times what is kept
/// of it; here what is kept has no holes where the tree was, and the region is empty afterwards.
fn parse_to_keep(paths: &Paths, text: &str) -> Result<Config, BadConfig> {
    let parsed = std::thread::scope(|scope| scope.spawn(|| parse(paths, text)).join());
    let parsed = parsed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(parsed.clone())
}

/// The configuration that is in force, with the text that it was parsed from: of a file that has grown by a member, only the
/// member is parsed.
#[derive(Debug)]
pub struct Source {
    text: String,
    /// The configuration.
    pub config: Config,
}

/// What a [`Source`] was before it was [refreshed](Source::refresh).
#[derive(Debug)]
pub enum Before {
    /// The same.
    Same,
    /// The same without these members; with its text.
    Without(Box<Insertion>, String),
    /// Something else.
    Other(Box<Source>),
}

impl Source {
    /// Reads and checks the configuration file.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(paths: &Paths) -> Result<Self> {
        let text = read(paths)?;
        let config = parse_to_keep(paths, &text)?;
        Ok(Self { text, config })
    }

    /// From files that were read before: names and texts, the configuration file first.
    ///
    /// # Errors
    /// [`BadConfig`]: another version of Fielato wrote them.
    pub fn of(paths: &Paths, files: Vec<(String, String)>) -> Result<Self> {
        let text = files.into_iter().next().map(|(_, text)| text).context("it has no files")?;
        let config = parse_to_keep(paths, &text)?;
        Ok(Self { text, config })
    }

    /// Its files: names and texts, the configuration file first.
    pub fn files(&self) -> Vec<(String, String)> {
        vec![(MAIN.to_owned(), self.text.clone())]
    }

    /// Reads the file again. Returns what leads back, for [`Source::restore`].
    ///
    /// # Errors
    /// As [`load`]; nothing has changed then.
    pub fn refresh(&mut self, paths: &Paths) -> Result<Before> {
        let text = read(paths)?;
        if text == self.text {
            return Ok(Before::Same);
        }
        if let Some(insertion) = self.config.insertion(&self.text, &text) {
            self.config.insert(&insertion);
            let before = std::mem::replace(&mut self.text, text);
            return Ok(Before::Without(Box::new(insertion), before));
        }
        let config = parse_to_keep(paths, &text)?;
        Ok(Before::Other(Box::new(std::mem::replace(self, Self { text, config }))))
    }

    /// Edits what is in force, and not the file. Returns what leads back, for [`Source::restore`].
    ///
    /// # Errors
    /// When the edit is refused; nothing has changed then.
    pub fn edit(&mut self, paths: &Paths, edit: impl FnOnce(&str) -> Result<String, EditError>) -> Result<Before> {
        let text = edit(&self.text)?;
        if text == self.text {
            return Ok(Before::Same);
        }
        let config = parse_to_keep(paths, &text)?;
        Ok(Before::Other(Box::new(std::mem::replace(self, Self { text, config }))))
    }

    /// Undoes [`Source::refresh`].
    pub fn restore(&mut self, before: Before) {
        match before {
            Before::Same => {}
            Before::Without(insertion, text) => {
                self.config.take_back(&insertion);
                self.text = text;
            }
            Before::Other(source) => *self = *source,
        }
    }
}
