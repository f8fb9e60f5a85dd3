//! A differential oracle: random rule sets and random packets, given to Linux's netfilter and to ours, and everything that can
//! be seen of either compared.
//!
//! A case is made on the kernel, because what hosts send next follows from what came out ([`run::record`]), and then played on the
//! engine ([`run::replay`]). Compared are the packets that come out, where and every byte of them, every counter, and every tracked
//! connection. What two right implementations may choose differently is named in [`rename`] and [`compare`].

pub mod campaign;
pub mod case;
pub mod compare;
pub mod coverage;
pub mod engine;
pub mod error;
pub mod hex;
pub mod kernel;
pub mod minimise;
pub mod network;
pub mod random;
pub mod rename;
pub mod rules;
pub mod run;
pub mod sets;
pub mod subject;
pub mod traffic;
