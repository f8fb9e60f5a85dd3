//! The user side of the built-in matches and targets, a file each.

pub mod matches;
pub mod targets;
pub mod values;
mod words;
