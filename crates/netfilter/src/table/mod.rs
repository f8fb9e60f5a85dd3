//! Tables that run: compiled from [`crate::rule`], walked by packets.

mod compile;
mod walk;

pub(crate) use walk::Frame;

pub use compile::{CompileError, CompiledTable, MAX_JUMP_DEPTH, RegisteredTable};
