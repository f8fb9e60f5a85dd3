//! The way out by ordinary sockets: a member's stack in memory, the proxy, and the kernel's own sockets as the outside.
//!
//! ```text
//!   member (smoltcp)  ──packets──►  Proxy  ──sockets──►  10.9.0.1 ── cable ── 10.9.0.2: servers
//!   10.8.0.2, fd08::2                      namespace A                     namespace B
//! ```

#[path = "../common/mod.rs"]
mod common;
mod datagram;
mod kernel;
mod limits;
mod member;
mod tcp;
mod unprivileged;
