//! Rules as text.

pub(crate) mod list;
pub(crate) mod save;

pub use save::{SaveOptions, rule, ruleset, table};
