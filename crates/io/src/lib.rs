//! Sockets, TUN devices and threads around the sans-IO cores.

pub mod aead;
pub mod device;
mod fd;
mod memory;
pub mod packet_port;
mod poller;
pub mod proxy;
pub mod queue;
mod rtnetlink;
pub mod tap;
pub mod tun;
mod uapi;
mod udp;

pub use device::{CreateError, Device, Exit, Options, SetError};
pub use tun::Tun;
pub use uapi::{remove_leftover as remove_leftover_socket, socket_path};
