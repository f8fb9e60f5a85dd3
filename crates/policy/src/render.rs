//! Plans as text that other programs take. Every function here is pure.

mod family;
mod host_script;
pub mod iptables;
pub mod nft;
mod ranges;
pub mod script;
pub mod wg_quick;

pub(crate) use family::plain;
