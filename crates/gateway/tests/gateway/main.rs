//! The gateway from outside: packets in, packets out.
//!
//! ```text
//! members 10.8.0.0/24, fd08::/64 ── wg0 (1) ── gateway ── eth0 (3) ── 192.0.2.0/24, 2001:db8::/64
//!                                               │
//!                                              hub (2), 10.8.0.1, fd08::1
//! ```

mod egress;
mod forward;
mod guard;
mod hub;
mod link;
mod net;
mod random;
mod swap;
mod tracing;
