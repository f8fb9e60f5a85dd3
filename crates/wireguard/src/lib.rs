//! WireGuard without sockets: keys, peers, allowed IPs, sessions, wg-quick files and the UAPI protocol.
//!
//! Nothing here opens a socket, a file or a device. [`config`] is the vocabulary that both the kernel's
//! WireGuard and our own device are driven with; [`device`] is that device's inside.

pub mod aead;
pub mod allowed_ips;
pub mod config;
#[allow(dead_code, reason = "the device moves from `tunnel` to these next")]
mod cookie;
pub mod device;
pub mod drops;
pub mod gate;
#[cfg(test)]
mod interop;
pub mod key;
mod limiter;
pub mod limits;
pub mod message;
#[allow(dead_code, reason = "the device moves from `tunnel` to these next")]
mod noise;
pub mod outbox;
mod peer;
pub mod random;
pub mod replay;
#[allow(dead_code, reason = "the device moves from `tunnel` to these next")]
mod session;
#[allow(dead_code, reason = "the device moves from `tunnel` to these next")]
mod tai64n;
mod tunnel;
pub mod uapi;
pub mod wg_quick;

pub use config::{DeviceConfig, DeviceStatus, PeerChange, PeerConfig, PeerStatus};
pub use device::Device;
pub use drops::{DropReason, Drops};
pub use gate::{Admission, Gate};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use outbox::{Destination, Outbox, Path};
pub use random::Random;
pub use wg_quick::WgQuick;
