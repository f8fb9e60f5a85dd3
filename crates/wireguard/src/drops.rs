//! Why packets were dropped, and how many.

use std::fmt;

/// Why a packet went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// A datagram that is no WireGuard message: wrong type, length or reserved bytes.
    Malformed,
    /// A handshake message without proof that its sender knows our public key (mac1).
    BadMac,
    /// A handshake message while under load; a cookie was sent instead of an answer.
    UnderLoad,
    /// A handshake message while under load, from a source that sends more of them than its share.
    RateLimited,
    /// A message arrived, or a packet should leave, and the device has no private key.
    NoPrivateKey,
    /// A handshake from a public key that is no peer of ours.
    UnknownPeer,
    /// A message for a session number that no peer has.
    UnknownIndex,
    /// A message for a session that is over.
    NoSession,
    /// A data message whose counter was seen before, or is too old to tell.
    Replayed,
    /// A handshake initiation that is not newer than the last one.
    ReplayedHandshake,
    /// A handshake response or cookie that nobody asked for.
    Unexpected,
    /// Decryption failed: forged, damaged, or of another key.
    NotAuthentic,
    /// Decrypted, and no IPv4 or IPv6 packet.
    InnerMalformed,
    /// Decrypted, and the source address is not among the peer's allowed IPs.
    SourceNotAllowed,
    /// Read from the interface, and no IPv4 or IPv6 packet.
    OutgoingMalformed,
    /// No peer has the destination among its allowed IPs.
    NoPeerForDestination,
    /// The peer's address is not known yet.
    NoEndpoint,
    /// Too many packets wait for a handshake.
    QueueFull,
    /// Packets that waited for a handshake that did not come about.
    HandshakeTimedOut,
    /// The system refused to send the datagram.
    SendFailed,
    /// The system refused the packet on the interface.
    InterfaceRefused,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 21] = [
        Self::Malformed,
        Self::BadMac,
        Self::UnderLoad,
        Self::RateLimited,
        Self::NoPrivateKey,
        Self::UnknownPeer,
        Self::UnknownIndex,
        Self::NoSession,
        Self::Replayed,
        Self::ReplayedHandshake,
        Self::Unexpected,
        Self::NotAuthentic,
        Self::InnerMalformed,
        Self::SourceNotAllowed,
        Self::OutgoingMalformed,
        Self::NoPeerForDestination,
        Self::NoEndpoint,
        Self::QueueFull,
        Self::HandshakeTimedOut,
        Self::SendFailed,
        Self::InterfaceRefused,
    ];

    /// The name a person or a metric sees.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadMac => "bad-mac",
            Self::UnderLoad => "under-load",
            Self::RateLimited => "rate-limited",
            Self::NoPrivateKey => "no-private-key",
            Self::UnknownPeer => "unknown-peer",
            Self::UnknownIndex => "unknown-index",
            Self::NoSession => "no-session",
            Self::Replayed => "replayed",
            Self::ReplayedHandshake => "replayed-handshake",
            Self::Unexpected => "unexpected",
            Self::NotAuthentic => "not-authentic",
            Self::InnerMalformed => "inner-malformed",
            Self::SourceNotAllowed => "source-not-allowed",
            Self::OutgoingMalformed => "outgoing-malformed",
            Self::NoPeerForDestination => "no-peer-for-destination",
            Self::NoEndpoint => "no-endpoint",
            Self::QueueFull => "queue-full",
            Self::HandshakeTimedOut => "handshake-timed-out",
            Self::SendFailed => "send-failed",
            Self::InterfaceRefused => "interface-refused",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One counter per reason.
#[derive(Debug, Default, Clone)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one packet.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several packets.
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        self.0[reason as usize] += packets;
    }

    /// How many packets met `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut drops = Drops::default();
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            drops.add(reason, at as u64 + 1);
        }
        assert!(drops.iter().zip(1..).all(|((_, count), expected)| count == expected));
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
