//! `fielato.toml`: its schema, its diagnostics, edits that keep comments, and the [`Plan`] it compiles to.
//!
//! Sans-IO: texts and the time come in as arguments, texts and plain data go out.

pub mod config;
pub mod plan;

pub use config::Config;
pub use plan::Plan;
