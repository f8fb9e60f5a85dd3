//! The protocol with one peer: handshakes, session keys, replay window and their timers.
//!
//! A thin type over `boringtun`'s core, so that the core can change without the device noticing. That core reads
//! the clock itself and makes its own randomness (its issue 391); the rest of this crate does neither.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use x25519_dalek::{PublicKey as CurvePoint, StaticSecret};

use crate::drops::DropReason;
use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// Bytes that a data message adds to a packet: 16 of header, 16 of tag (WireGuard paper, section 5.4.6).
pub(crate) const DATA_OVERHEAD: usize = 32;

/// The largest message that is not data: a handshake initiation (section 5.4.2).
pub(crate) const LARGEST_HANDSHAKE: usize = 148;

/// Handshake messages per second that are answered without asking for a cookie first.
const HANDSHAKES_PER_SECOND: u64 = 100;

/// Counters from here on are never valid (section 6.4), and the core does not know.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Packets that wait for one peer's handshake; the kernel keeps as many (`MAX_STAGED_PACKETS`).
const STAGED_MAX: usize = 128;

/// The device's own keys, and the guard against handshake floods that hangs on them.
pub(crate) struct Identity {
    pub(crate) private_key: PrivateKey,
    pub(crate) public_key: PublicKey,
    secret: StaticSecret,
    point: CurvePoint,
    limiter: RateLimiter,
    /// The core checks each handshake again; this second limiter lets all pass that the first one let pass.
    open: Arc<RateLimiter>,
}

/// A datagram that is worth a look.
pub(crate) enum Checked {
    /// A peer wants to begin: its public key, proven only to be known to the sender.
    Initiation(PublicKey),
    /// Everything else: the number that names one of our peers' sessions.
    Indexed(u32, Kind),
    /// Too many handshakes: a cookie reply of this many bytes was written.
    Cookie(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Response,
    Cookie,
    Data,
}

impl Identity {
    pub(crate) fn new(private_key: PrivateKey) -> Self {
        let secret = StaticSecret::from(private_key.0);
        let point = CurvePoint::from(&secret);
        Self {
            public_key: PublicKey(point.to_bytes()),
            limiter: RateLimiter::new(&point, HANDSHAKES_PER_SECOND),
            open: Arc::new(RateLimiter::new(&point, u64::MAX)),
            private_key,
            secret,
            point,
        }
    }

    /// Sorts a datagram. `reply` has room for a cookie.
    pub(crate) fn check(&self, datagram: &[u8], from: IpAddr, reply: &mut [u8]) -> Result<Checked, DropReason> {
        let packet = match self.limiter.verify_packet(Some(from), datagram, reply) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => return Ok(Checked::Cookie(cookie.len())),
            Err(TunnResult::Err(WireGuardError::InvalidMac)) => return Err(DropReason::BadMac),
            Err(_) => return Err(DropReason::Malformed),
        };
        Ok(match packet {
            Packet::HandshakeInit(init) => {
                let half = parse_handshake_anon(&self.secret, &self.point, &init).map_err(|_| DropReason::NotAuthentic)?;
                Checked::Initiation(PublicKey(half.peer_static_public))
            }
            Packet::HandshakeResponse(response) => Checked::Indexed(response.receiver_idx, Kind::Response),
            Packet::PacketCookieReply(cookie) => Checked::Indexed(cookie.receiver_idx, Kind::Cookie),
            Packet::PacketData(_) if counter(datagram) >= REJECT_AFTER_MESSAGES => return Err(DropReason::Replayed),
            Packet::PacketData(data) => Checked::Indexed(data.receiver_idx, Kind::Data),
        })
    }

    /// Lets the flood guard count the next second; to be called more often than once a second.
    pub(crate) fn tick(&self) {
        self.limiter.reset_count();
    }
}

/// What came out of a datagram for this peer. Lengths are of what was written to the output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The peer's initiation is answered.
    Response(usize),
    /// Our initiation was answered: the session stands, and its first message is written.
    Established(usize),
    /// A cookie for the next attempt.
    Cookie,
    /// An empty data message. `confirmed`: the first one of a session that the peer began.
    Keepalive { confirmed: bool },
    /// An IP packet from `source`.
    Packet { len: usize, source: IpAddr, confirmed: bool },
}

/// What the passing of time asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    /// A message of this length was written.
    Send(usize),
    /// Nothing more will happen until the tunnel is used again.
    Expired,
}

/// Handshakes and sessions with one peer. About 2 KB, so it is made when first needed.
pub(crate) struct Tunnel {
    core: Tunn,
    /// Whether there are keys to send with. Sessions begin in `open` and end in `tick`, so this is always right.
    has_session: bool,
    /// Our number of a session that the peer began and has not used yet.
    awaiting: Option<u32>,
    staged: VecDeque<Vec<u8>>,
}

impl Tunnel {
    /// `index` is the peer's number: the core puts it in the upper 24 bits of each session's number.
    pub(crate) fn new(identity: &Identity, peer: PublicKey, preshared: Option<&PresharedKey>, index: u32) -> Self {
        let core = Tunn::new(
            identity.secret.clone(),
            CurvePoint::from(peer.0),
            preshared.map(|key| key.0),
            // The device sends persistent keepalives itself: the core could not change the interval later.
            None,
            index,
            Some(Arc::clone(&identity.open)),
        );
        Self {
            core,
            has_session: false,
            awaiting: None,
            staged: VecDeque::new(),
        }
    }

    pub(crate) fn has_session(&self) -> bool {
        self.has_session
    }

    /// Encrypts `packet` (empty for a keepalive); `None` without a session. The output has room for
    /// [`DATA_OVERHEAD`] bytes more than the packet, and for [`LARGEST_HANDSHAKE`] at least.
    pub(crate) fn seal(&mut self, packet: &[u8], output: &mut [u8]) -> Option<usize> {
        if !self.has_session {
            return None;
        }
        match self.core.encapsulate(packet, output) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Begins a handshake unless one is under way.
    pub(crate) fn initiate(&mut self, output: &mut [u8]) -> Option<usize> {
        match self.core.format_handshake_initiation(output, false) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Takes a datagram that [`Identity::check`] let pass. The output has room for as many bytes.
    pub(crate) fn open(&mut self, datagram: &[u8], kind: Option<Kind>, output: &mut [u8]) -> Result<Opened, DropReason> {
        let result = self.core.decapsulate(None, datagram, output);
        let (len, source) = match (result, kind) {
            (TunnResult::Err(error), _) => return Err(drop_reason(&error)),
            (TunnResult::WriteToNetwork(message), None) => {
                self.awaiting = message
                    .get(4..8)
                    .and_then(|index| index.try_into().ok())
                    .map(u32::from_le_bytes);
                return Ok(Opened::Response(message.len()));
            }
            (TunnResult::WriteToNetwork(message), Some(_)) => {
                self.has_session = true;
                return Ok(Opened::Established(message.len()));
            }
            (TunnResult::Done, Some(Kind::Data)) => (0, None),
            (TunnResult::Done, _) => return Ok(Opened::Cookie),
            (TunnResult::WriteToTunnelV4(packet, source), _) => (packet.len(), Some(IpAddr::V4(source))),
            (TunnResult::WriteToTunnelV6(packet, source), _) => (packet.len(), Some(IpAddr::V6(source))),
        };
        let index = datagram
            .get(4..8)
            .and_then(|index| index.try_into().ok())
            .map(u32::from_le_bytes);
        let confirmed = index.is_some() && index == self.awaiting;
        if confirmed {
            self.awaiting = None;
            self.has_session = true;
        }
        Ok(match source {
            Some(source) => Opened::Packet { len, source, confirmed },
            None => Opened::Keepalive { confirmed },
        })
    }

    /// Does what is due. To be called every quarter of a second, and before a tunnel is used that rested.
    pub(crate) fn tick(&mut self, output: &mut [u8]) -> Tick {
        let (result, expired) = match self.core.update_timers(output) {
            TunnResult::WriteToNetwork(message) => (Tick::Send(message.len()), false),
            TunnResult::Err(WireGuardError::ConnectionExpired) => (Tick::Expired, true),
            _ => (Tick::Nothing, false),
        };
        self.has_session = !expired && self.core.time_since_last_handshake().is_some();
        result
    }

    /// Keeps a packet until there is a session; false when too many wait already.
    pub(crate) fn stage(&mut self, packet: &[u8]) -> bool {
        if self.staged.len() >= STAGED_MAX {
            return false;
        }
        self.staged.push_back(packet.to_vec());
        true
    }

    /// Packets that wait for a session, oldest first.
    pub(crate) fn take_staged(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.staged)
    }

    pub(crate) fn staged_len(&self) -> usize {
        self.staged.len()
    }
}

/// The counter of a data message.
fn counter(datagram: &[u8]) -> u64 {
    datagram
        .get(8..16)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(u64::MAX, u64::from_le_bytes)
}

fn drop_reason(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::Replayed,
        WireGuardError::WrongTai64nTimestamp | WireGuardError::InvalidTai64nTimestamp => DropReason::ReplayedHandshake,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex | WireGuardError::ConnectionExpired => {
            DropReason::NoSession
        }
        WireGuardError::UnexpectedPacket => DropReason::Unexpected,
        WireGuardError::InvalidAeadTag | WireGuardError::WrongKey => DropReason::NotAuthentic,
        WireGuardError::InvalidMac => DropReason::BadMac,
        WireGuardError::UnderLoad => DropReason::UnderLoad,
        // The outer message was checked before, so this is about the decrypted packet.
        WireGuardError::InvalidPacket => DropReason::InnerMalformed,
        WireGuardError::DestinationBufferTooSmall
        | WireGuardError::IncorrectPacketLength
        | WireGuardError::WrongPacketType
        | WireGuardError::LockFailed => DropReason::Malformed,
    }
}
