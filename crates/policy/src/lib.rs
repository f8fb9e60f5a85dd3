//! `fielato.toml`: its schema, its diagnostics, edits that keep comments, and the [`Plan`] it compiles to.
//!
//! Sans-IO: texts and the time come in as arguments, texts and plain data go out.

pub mod analyse;
pub mod circumstances;
mod compile;
pub mod config;
pub mod diagnostic;
pub mod diff;
pub mod edit;
pub mod facts;
pub mod gateway;
pub mod import;
pub mod init;
mod json_schema;
pub mod judge;
mod keys;
pub mod locate;
pub mod lockout;
mod origin;
mod parse;
mod places;
pub mod plan;
mod raw;
pub mod render;
mod schema;
pub mod trace;

pub use circumstances::{Circumstances, Grant};
pub use compile::HostPlans;
pub use config::Config;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use facts::MachineFacts;
pub use json_schema::json_schema;
pub use parse::{Insertion, includes};
pub use plan::{HostPlan, Plan};
