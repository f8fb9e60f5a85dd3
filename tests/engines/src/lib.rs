//! Both engines, the kernel's and ours, under the same random policies and the same random traffic: everything that can be seen of
//! either is compared.
//!
//! A case is made on one of them, because what hosts send next follows from what came out ([`run::record`]), and then played on the
//! other ([`run::replay`]). Compared are the packets that come out, where and every byte of them, how many met each rule, class and
//! ban, and every tracked connection. What two right engines may choose differently is named in the oracle's `rename` and `compare`.
//!
//! What is said about packets without sending any is held against them, too: `trace` at the hub in [`fact`], `can` and `trace` on the
//! whole way and back in [`mod@can`].

pub mod campaign;
pub mod can;
pub mod case;
pub mod compare;
pub mod coverage;
pub mod error;
pub mod fact;
pub mod gateway;
pub mod kernel;
pub mod minimise;
pub mod network;
pub mod policy;
pub mod run;
pub mod scene;
pub mod subject;
pub mod traffic;
