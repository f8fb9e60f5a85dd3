//! What must hold for any input, as functions that panic when it doesn't.
//!
//! Each module of [`check`] takes bytes and makes of them what it needs. A fuzzer finds such bytes (`make fuzz`, folder `fuzz/`); the
//! tests of this crate give the same functions the fuzzers' corpora and seeded random bytes, so that they run without a fuzzer too.

pub mod check;
pub mod machine;
pub mod packets;
pub mod source;
pub mod sums;
