//! Netfilter.

pub mod classify;
