//! Traffic control over netlink: queueing disciplines and classes are set up, replaced, shown and removed.
//!
//! Packets are put into HTB's classes by their priority (`meta priority set 1:10` in nft, `skb->priority` in the kernel),
//! so there are no tc filters here: [`replace`] refuses them.

mod apply;
mod attributes;
mod encode;
mod error;
mod message;
mod netem;
mod node;
mod probe;
mod psched;
mod show;
mod text;

pub use apply::{Previous, clear, replace};
pub use error::TcError;
pub use show::{Object, Shown, show};
