//! How lengths are charged.

use serde::{Deserialize, Serialize};

/// A discipline's own way to charge lengths (`man 8 tc-stab`). Lengths are computed exactly, so the table's own parameters (`mtu`,
/// `tsize`) matter to the kernel only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Stab {
    /// Bytes added to every packet. On a WireGuard link layer: the outer IP and UDP headers, 28 or 48.
    pub overhead: Option<i32>,
    /// The smallest length charged.
    pub mpu: Option<u32>,
    /// The largest length that the kernel's table holds.
    pub mtu: Option<u32>,
    /// The number of the kernel's table's entries.
    pub tsize: Option<u32>,
    /// What carries the packets.
    pub linklayer: LinkLayer,
}

/// What carries packets: how much a length grows on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LinkLayer {
    /// Lengths are as they are.
    #[default]
    Ethernet,
    /// Cells of 53 bytes carry 48.
    Atm,
    /// A WireGuard data message: padded to 16 bytes, 16 bytes of header and 16 of tag, and the outer headers. Our own; the kernel
    /// doesn't know it.
    Wireguard,
}

impl LinkLayer {
    /// Every one with its word; `adsl` means ATM, too.
    pub const WORDS: [(&'static str, LinkLayer); 4] = [
        ("ethernet", LinkLayer::Ethernet),
        ("atm", LinkLayer::Atm),
        ("adsl", LinkLayer::Atm),
        ("wireguard", LinkLayer::Wireguard),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            LinkLayer::Ethernet => "ethernet",
            LinkLayer::Atm => "atm",
            LinkLayer::Wireguard => "wireguard",
        }
    }
}
