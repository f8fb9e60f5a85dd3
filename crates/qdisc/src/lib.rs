//! Traffic control without sockets: tc's words for queueing disciplines and classes, as typed values.
//!
//! Words, units and defaults are those of `man 8 tc` and its pages for each discipline.
//!
//! ```
//! let qdisc = fielato_qdisc::qdisc("root tbf rate 1mbit burst 32k latency 400ms").unwrap();
//! assert_eq!(qdisc.to_string(), "root tbf rate 1mbit burst 32kb limit 82768b");
//! ```

mod alarms;
mod apply;
mod charge;
mod codel;
mod discipline;
mod drop;
mod ecn;
mod filter;
pub mod flow;
mod item;
mod kinds;
mod packet;
mod parse;
mod print;
mod print_filter;
mod rate;
pub mod shown;
pub mod spec;
mod stats;
mod stats_text;
pub mod tc;
#[cfg(test)]
mod tests;
mod tree;
pub mod units;
mod wheel;
mod words;

pub use apply::ApplyError;
pub use discipline::{CodelStats, FqCodelStats, NetemStats};
pub use drop::DropReason;
pub use item::{Item, ItemError};
pub use packet::Packet;
pub use parse::{class, filter, qdisc, qdisc_with_tables};
pub use spec::{Class, Filter, Handle, Parent, Qdisc, QdiscKind};
pub use stats::{Amount, Extra, HtbCounts, HtbDirect, Shape, Stats};
pub use tree::{Path, Settings, Tree};
pub use words::ParseError;
