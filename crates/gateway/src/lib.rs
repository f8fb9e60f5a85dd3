//! The user-space gateway, sans-IO: everything between the ports, in one value.
//!
//! A [`Gateway`] is made from a [`Config`], which is plain data. Packets go in by [`Gateway::receive`] and come out of
//! [`Gateway::transmit`]; in between they meet the guard, netfilter's hooks and the routes, in the kernel's order, and wait in the
//! disciplines of the port they leave by. Nothing here opens a socket or reads a clock: time is an argument.

#![forbid(unsafe_code)]

mod buffer;
mod config;
mod drops;
mod egress;
mod gateway;
pub mod guard;
mod hub;
pub mod icmp_limit;
pub mod neighbour;
mod prefix;
mod router;
pub mod trace;

pub use buffer::Buffer;
pub use config::{
    Config, ConfigError, Link, MAIN_TABLE, Port, PortId, PortKind, Route, RouteKind, RoutingRule, RpFilter, SetConfig, Settings,
    Shaping,
};
pub use drops::DropReason;
pub use egress::{Egress, Key, Side};
pub use fielato_netfilter::Now;
pub use fielato_wire::Offload;
pub use gateway::{Gateway, Swapped, Usage};
pub use hub::{Hub, Moment, Output};
pub use trace::{Station, TraceFilter, Traced};
