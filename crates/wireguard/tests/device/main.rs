//! Whole devices, joined by a network of our own: see [`net`].

mod badinput;
mod config;
mod cookies;
mod handshake;
mod icmp;
mod keepalive;
mod net;
mod outer;
mod rekey;
mod roaming;
mod shards;
mod soak;
