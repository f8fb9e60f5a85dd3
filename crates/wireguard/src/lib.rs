//! WireGuard without sockets: keys, peers, allowed IPs, handshakes, sessions, wg-quick files and the UAPI protocol.
//!
//! Nothing here opens a socket, a file or a device, reads a clock or makes randomness. [`config`] is the vocabulary that
//! both the kernel's WireGuard and our own device are driven with; [`device`] is that device's inside.

pub mod aead;
pub mod allowed_ips;
pub mod config;
mod cookie;
pub mod device;
pub mod drops;
pub mod front;
pub mod gate;
pub mod inner;
pub mod key;
mod limiter;
pub mod limits;
pub mod message;
mod noise;
pub mod outbox;
mod peer;
pub mod random;
pub mod replay;
pub mod roster;
mod session;
pub mod shard;
mod tai64n;
mod timers;
mod tunnel;
pub mod uapi;
pub mod wg_quick;

pub use config::{DeviceConfig, DeviceStatus, PeerChange, PeerConfig, PeerPackets, PeerStatus};
pub use device::Device;
pub use drops::{DropReason, Drops};
pub use front::Front;
pub use gate::{Admission, Gate};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use noise::Claim;
pub use outbox::{Destination, Origin, Outbox, Path};
pub use random::Random;
pub use roster::Roster;
pub use shard::Shard;
pub use wg_quick::WgQuick;
