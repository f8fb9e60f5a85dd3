//! The four messages of the protocol and their layout (WireGuard paper, sections 5.4.2 to 5.4.7).
//!
//! | type | message | bytes | fields after the type and three zero bytes |
//! |---|---|---|---|
//! | 1 | initiation | 148 | sender 4, ephemeral 32, static 48, timestamp 28, mac1 16, mac2 16 |
//! | 2 | response | 92 | sender 4, receiver 4, ephemeral 32, nothing 16, mac1 16, mac2 16 |
//! | 3 | cookie reply | 64 | receiver 4, nonce 24, cookie 32 |
//! | 4 | data | 32 and more | receiver 4, counter 8, packet, tag 16 |

use crate::drops::DropReason;

/// Bytes of a handshake initiation.
pub const INITIATION: usize = 148;
/// Bytes of a handshake response.
pub const RESPONSE: usize = 92;
/// Bytes of a cookie reply.
pub const COOKIE_REPLY: usize = 64;
/// Bytes of a data message before its packet.
pub const DATA_HEADER: usize = 16;
/// Bytes of the tag at the end of everything sealed.
pub const TAG: usize = 16;
/// Bytes that a data message adds to its packet.
pub const DATA_OVERHEAD: usize = DATA_HEADER + TAG;
/// Bytes of mac1 and mac2 together, the end of both handshake messages.
pub const MACS: usize = 32;

/// The first four bytes of each message: the type and three zero bytes.
pub(crate) const INITIATION_TYPE: [u8; 4] = [1, 0, 0, 0];
pub(crate) const RESPONSE_TYPE: [u8; 4] = [2, 0, 0, 0];
pub(crate) const COOKIE_REPLY_TYPE: [u8; 4] = [3, 0, 0, 0];
pub(crate) const DATA_TYPE: [u8; 4] = [4, 0, 0, 0];

/// A datagram of the right shape. Nothing in it is proven yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Somebody wants to begin a session.
    Initiation(&'a [u8; INITIATION]),
    /// The answer to an initiation.
    Response(&'a [u8; RESPONSE]),
    /// The answer of somebody under load to either.
    CookieReply(&'a [u8; COOKIE_REPLY]),
    /// A packet of a session, at least [`DATA_OVERHEAD`] bytes.
    Data {
        /// The receiver's number of the session.
        receiver: u32,
        /// The message's number within the session.
        counter: u64,
    },
}

impl<'a> Message<'a> {
    /// Tells what a datagram is by its type, zero bytes and length.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] when it is none of the four.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DropReason> {
        let kind = *datagram.first_chunk::<4>().ok_or(DropReason::Malformed)?;
        let message = match kind {
            DATA_TYPE if datagram.len() >= DATA_OVERHEAD => Some(Self::Data {
                receiver: u32_at(datagram, 4),
                counter: u64_at(datagram, 8),
            }),
            INITIATION_TYPE => datagram.try_into().ok().map(Self::Initiation),
            RESPONSE_TYPE => datagram.try_into().ok().map(Self::Response),
            COOKIE_REPLY_TYPE => datagram.try_into().ok().map(Self::CookieReply),
            _ => None,
        };
        message.ok_or(DropReason::Malformed)
    }

    /// The number that the sender gave to the session; messages 1 and 2 have one.
    pub fn sender(&self) -> Option<u32> {
        match self {
            Self::Initiation(message) => Some(u32_at(*message, 4)),
            Self::Response(message) => Some(u32_at(*message, 4)),
            Self::CookieReply(_) | Self::Data { .. } => None,
        }
    }

    /// The number that we gave to the session; all but initiations have one.
    #[inline]
    pub fn receiver(&self) -> Option<u32> {
        match self {
            Self::Initiation(_) => None,
            Self::Response(message) => Some(u32_at(*message, 8)),
            Self::CookieReply(message) => Some(u32_at(*message, 4)),
            Self::Data { receiver, .. } => Some(*receiver),
        }
    }
}

/// The little-endian number at `at`; zero beyond the end, which no caller reads.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, len: usize) -> Vec<u8> {
        let mut message: Vec<u8> = (0..len).map(|at| at as u8).collect();
        message
            .iter_mut()
            .zip([kind, 0, 0, 0])
            .for_each(|(byte, value)| *byte = value);
        message
    }

    #[test]
    fn each_kind_has_its_length() {
        for kind in 0..=255 {
            for len in 0..200 {
                let datagram = message(kind, len);
                let parsed = Message::parse(&datagram);
                let expected = match (kind, len) {
                    (1, 148) => matches!(parsed, Ok(Message::Initiation(bytes)) if bytes[..] == datagram),
                    (2, 92) => matches!(parsed, Ok(Message::Response(bytes)) if bytes[..] == datagram),
                    (3, 64) => matches!(parsed, Ok(Message::CookieReply(bytes)) if bytes[..] == datagram),
                    (4, 32..) => matches!(
                        parsed,
                        Ok(Message::Data {
                            receiver: 0x0706_0504,
                            counter: 0x0f0e_0d0c_0b0a_0908
                        })
                    ),
                    _ => parsed == Err(DropReason::Malformed),
                };
                assert!(expected, "type {kind}, {len} bytes: {parsed:?}");
            }
        }
    }

    #[test]
    fn reserved_bytes_are_zero() {
        for (kind, len) in [(1, INITIATION), (2, RESPONSE), (3, COOKIE_REPLY), (4, 100)] {
            for at in 1..4 {
                let mut datagram = message(kind, len);
                datagram[at] = 1;
                assert_eq!(Message::parse(&datagram), Err(DropReason::Malformed));
            }
        }
    }

    #[test]
    fn numbers_are_where_the_paper_has_them() {
        let numbers = |kind, len| {
            let datagram = message(kind, len);
            let parsed = Message::parse(&datagram).unwrap();
            (parsed.sender(), parsed.receiver())
        };
        assert_eq!(numbers(1, INITIATION), (Some(0x0706_0504), None));
        assert_eq!(numbers(2, RESPONSE), (Some(0x0706_0504), Some(0x0b0a_0908)));
        assert_eq!(numbers(3, COOKIE_REPLY), (None, Some(0x0706_0504)));
        assert_eq!(numbers(4, 32), (None, Some(0x0706_0504)));
    }
}
