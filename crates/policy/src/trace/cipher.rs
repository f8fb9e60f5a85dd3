//! What a packet becomes when it is encrypted: sizes and headers (the protocol's message of type 4).

use std::net::IpAddr;

use serde::Serialize;

/// A packet in cipher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cipher {
    /// Bytes of the plain packet.
    pub plain: usize,
    /// Zero bytes behind it, to a multiple of 16, that hide its length.
    pub padding: usize,
    /// Type, receiver's index and counter.
    pub header: usize,
    /// Poly1305's tag.
    pub tag: usize,
    /// The UDP header.
    pub udp: usize,
    /// The outer IP header.
    pub ip: usize,
    /// All of it on the wire, from the outer IP header.
    pub length: usize,
    /// Who sends it: address and port where they are known.
    pub from: String,
    /// Who receives it.
    pub to: String,
}

/// Message type, three reserved bytes, the receiver's index, the counter (section 5.4.6 of the WireGuard paper).
const HEADER: usize = 16;
const TAG: usize = 16;
const UDP: usize = 8;
/// What the padding is a multiple of.
const BLOCK: usize = 16;

impl Cipher {
    /// A plain packet of this length on its way between `from` and `to`, on a tunnel of this MTU.
    pub(super) fn of(plain: usize, mtu: u32, outer_v6: bool, from: String, to: String) -> Cipher {
        // Padding never makes a packet larger than the MTU (`calculate_skb_padding` in send.c).
        let padded = plain.next_multiple_of(BLOCK).min(plain.max(mtu as usize));
        let ip = if outer_v6 { 40 } else { 20 };
        Cipher {
            plain,
            padding: padded - plain,
            header: HEADER,
            tag: TAG,
            udp: UDP,
            ip,
            length: ip + UDP + HEADER + padded + TAG,
            from,
            to,
        }
    }
}

/// `HOST:PORT`.
pub(super) fn endpoint(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_on_the_wire() {
        let length = |plain, v6| Cipher::of(plain, 1420, v6, String::new(), String::new()).length;
        // A keepalive, a ping of 84 bytes, a full packet over each outer family: 1420 is what 1500 holds over IPv6.
        assert_eq!(length(0, false), 60);
        assert_eq!(length(84, false), 20 + 8 + 16 + 96 + 16);
        assert_eq!(length(1420, false), 1480);
        assert_eq!(length(1420, true), 1500);
    }
}
