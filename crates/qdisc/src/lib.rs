//! Traffic control without sockets: tc's words for queueing disciplines and classes, as typed values.
//!
//! Words, units and defaults are those of `man 8 tc` and its pages for each discipline.
//!
//! ```
//! let qdisc = fielato_qdisc::qdisc("root tbf rate 1mbit burst 32k latency 400ms").unwrap();
//! assert_eq!(qdisc.to_string(), "root tbf rate 1mbit burst 32kb limit 82768b");
//! ```

mod kinds;
mod parse;
mod print;
pub mod spec;
pub mod units;
mod words;

pub use parse::{class, qdisc};
pub use spec::{Class, Handle, Parent, Qdisc, QdiscKind};
pub use words::ParseError;
