//! Tables that run: compiled from [`crate::rule`], walked by packets.

mod bounds;
mod compile;
mod consider;
mod walk;

pub(crate) use consider::Admission;
pub(crate) use walk::Scratch;

pub use compile::{CompileError, CompiledTable, MAX_JUMP_DEPTH, RegisteredTable};
