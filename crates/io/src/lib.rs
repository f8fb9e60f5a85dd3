//! Sockets, TUN devices and threads around the sans-IO cores.

pub mod aead;
pub mod device;
mod fd;
mod memory;
#[cfg_attr(not(test), expect(dead_code, reason = "the workers of the device will wait with it"))]
mod poller;
pub mod queue;
mod sockets;
pub mod tun;
mod uapi;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "it takes the place of `sockets` when the device has workers"
    )
)]
mod udp;

pub use device::{CreateError, Device, Exit, SetError};
pub use tun::Tun;
pub use uapi::remove_leftover as remove_leftover_socket;
