//! The iptables language over [`fielato_netfilter`]: commands, listings, save files, the user side of every extension.
//!
//! Words, texts and exit codes are those of iptables 1.8.9 (legacy).

#![forbid(unsafe_code)]

pub mod extensions;
mod registry;

pub use registry::Registry;
