//! Traffic control without sockets: tc's words for queueing disciplines and classes, as typed values.
//!
//! Words, units and defaults are those of `man 8 tc` and its pages for each discipline.

pub mod spec;

pub use spec::{Class, Handle, Parent, Qdisc, QdiscKind};
