//! IP packets as bytes: parsed once into [`Headers`], checksummed, built, written as text.
//!
//! Nothing here panics on any input, and nothing here does input or output.

mod address;
pub mod build;
pub mod checksum;
mod field;
pub mod filter;
pub mod gro;
pub mod gso;
mod headers;
pub mod number;
mod offload;
pub mod pcap;
pub mod pcapng;
pub mod text;

pub use address::{Addr, Family};
pub use headers::{Extensions, Headers, Malformed, TcpFlags};
pub use offload::{OFFLOAD_LEN, Offload, Segmentation, SegmentationKind, UnknownSegmentation};
