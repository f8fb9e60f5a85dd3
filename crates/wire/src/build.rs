//! Builders: whole packets with right lengths and checksums.
//!
//! An [`Ip`] is the network layer of a packet to be; its methods put a transport on it and give the bytes. What is too long for
//! an IP packet is cut at 65,535 bytes.
//!
//! ```
//! use fielato_wire::build::{Ip, Tcp};
//! let ip = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).ttl(3);
//! let syn = ip.tcp(&Tcp::new(1025, 80).syn().seq(7));
//! let error = Ip::v4([10, 0, 1, 1], [10, 0, 0, 1]).icmp_error(3, 1, 0, &syn);
//! assert_eq!(error.len(), 20 + 8 + syn.len());
//! ```

mod fragment;
mod ip;
mod transport;

pub use fragment::{CannotFragment, fragments, reassemble};
pub use ip::{Extension, Ip};
pub use transport::{Dccp, Tcp};
