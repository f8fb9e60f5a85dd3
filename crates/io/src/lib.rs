//! Sockets, TUN devices and threads around the sans-IO cores.

pub mod device;
mod fd;
mod memory;
pub mod queue;
mod sockets;
mod tun;
mod uapi;

pub use device::{CreateError, Device, Exit, SetError};
pub use tun::Tun;
pub use uapi::{remove_leftover as remove_leftover_socket, socket_path};
