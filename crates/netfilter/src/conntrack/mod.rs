//! Connection tracking (`net/netfilter/nf_conntrack_core.c`): tuples, states, one entry per connection.
//!
//! One entry holds everything about a connection: protocol state, NAT binding, marks, cached decisions; both tuples
//! point to it. An entry is made when the first packet is seen and enters the table when the last hook has accepted it
//! ([`Conntrack::confirm`]); until then only its packet knows it.

mod config;
mod conn;
pub mod defrag;
mod event;
mod expect;
mod extract;
mod hash;
pub mod helper;
mod icmp;
mod index;
mod known;
pub mod list;
pub mod proto;
mod slab;
mod stats;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod track;
mod tuple;

pub use config::{Config, Timeouts, Tracking};
pub use conn::{Conn, ConnId, CtState, Extra, HelperKind, Master, NamedHelper, Status, Zone};
pub use event::{Change, Changes, Event, EventMask, ExpectChange};
pub use expect::{ExpectError, ExpectId, ExpectNat, Expectation};
use hash::HashKeys;
pub(crate) use known::{Followed, Known};
pub use proto::{ProtoState, ProtoVerdict, Tracker};
pub use stats::Stats;
pub use table::{Conntrack, TimeoutPolicy};
pub use template::Template;
pub use tuple::{Direction, Tuple};
