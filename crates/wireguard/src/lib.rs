//! WireGuard without sockets: keys, peers, allowed IPs, sessions, wg-quick files and the UAPI protocol.
//!
//! Nothing here opens a socket, a file or a device. [`config`] is the vocabulary that both the kernel's
//! WireGuard and our own device are driven with.

pub mod config;
pub mod key;
pub mod wg_quick;

pub use config::{DeviceConfig, DeviceStatus, PeerChange, PeerConfig, PeerStatus};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use wg_quick::WgQuick;
