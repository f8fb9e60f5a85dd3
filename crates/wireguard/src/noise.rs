//! WireGuard's handshake: two messages that prove both static keys and leave fresh session keys behind
//! (WireGuard paper, sections 5.4.2 to 5.4.5).
//!
//! The initiator: [`create_initiation`], then [`Initiator::finish`]. The responder: [`Claim::read`] (whom does it say
//! it is from?), [`Claim::verify`] (it is), [`Initiation::respond`]. The MACs at the messages' ends are
//! [`cookie`](crate::cookie)'s; what a repeated timestamp means is the caller's.

mod ikpsk2;

use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::drops::DropReason;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::message::{INITIATION, INITIATION_TYPE, RESPONSE, RESPONSE_TYPE, TAG, u32_at};
use crate::random::Random;
use crate::tai64n::Tai64n;

use ikpsk2::Symmetric;

/// What both sides mix in before the first message (section 5.4: IDENTIFIER).
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

const TIMESTAMP: usize = 12;

/// Where the handshake's own bytes begin and end in both messages: after the numbers, before the MACs.
const FIRST: std::ops::Range<usize> = 8..116;
const SECOND: std::ops::Range<usize> = 12..60;

/// A device's own keys, ready for use.
pub(crate) struct StaticKeys {
    private: StaticSecret,
    public: PublicKey,
}

impl StaticKeys {
    pub(crate) fn new(private: &PrivateKey) -> Self {
        let private = StaticSecret::from(private.0);
        Self {
            public: PublicKey(Point::from(&private).to_bytes()),
            private,
        }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// The secret that our static key and a peer's share: a quarter of each handshake's work, and always the same.
/// `None` for a public key of low order, with which no secret can be had.
pub(crate) fn static_static(own: &StaticKeys, peer: &PublicKey) -> Option<[u8; 32]> {
    let shared = own.private.diffie_hellman(&Point::from(peer.0));
    shared.was_contributory().then(|| shared.to_bytes())
}

/// The keys of one session, as two ends derived them.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionKeys {
    pub(crate) send: [u8; 32],
    pub(crate) receive: [u8; 32],
    /// Our number of the session: the receiver in what the peer sends.
    pub(crate) local: u32,
    /// The peer's number of it.
    pub(crate) remote: u32,
    /// Whether we sent the initiation: the initiator is the one who renews.
    pub(crate) initiator: bool,
}

/// A handshake that we began.
pub(crate) struct Initiator {
    state: Symmetric,
    ephemeral: StaticSecret,
    local: u32,
}

/// Writes an initiation to `peer`; its MACs are still zero. `sender` is our number of the session to be. `None` when
/// the peer's public key is of low order.
pub(crate) fn create_initiation(
    own: &StaticKeys,
    peer: &PublicKey,
    static_static: &[u8; 32],
    timestamp: Tai64n,
    sender: u32,
    rng: &mut Random,
) -> Option<([u8; INITIATION], Initiator)> {
    let ephemeral = StaticSecret::from(*Zeroizing::new(rng.bytes()));
    let mut message = [0; INITIATION];
    message[..4].copy_from_slice(&INITIATION_TYPE);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    let state = ikpsk2::write_first(
        Symmetric::new(PROLOGUE, &peer.0),
        &ikpsk2::Writer {
            own_public: &own.public.0,
            peer: &Point::from(peer.0),
            static_static,
            ephemeral: &ephemeral,
        },
        &timestamp.0,
        &mut message[FIRST],
    )?;
    let initiator = Initiator {
        state,
        ephemeral,
        local: sender,
    };
    Some((message, initiator))
}

impl Initiator {
    /// Our number of the session to be: the response's receiver.
    pub(crate) fn local(&self) -> u32 {
        self.local
    }

    /// Takes the response. A wrong one changes nothing: the right one may still come.
    ///
    /// # Errors
    /// [`DropReason::Unexpected`] for another handshake's number, [`DropReason::NotAuthentic`] for everything that
    /// does not fit our keys.
    pub(crate) fn finish(
        &self,
        own: &StaticKeys,
        psk: Option<&PresharedKey>,
        response: &[u8; RESPONSE],
    ) -> Result<SessionKeys, DropReason> {
        if u32_at(response, 8) != self.local {
            return Err(DropReason::Unexpected);
        }
        let mut nothing = [];
        let (send, receive) = ikpsk2::read_second(
            self.state.clone(),
            &self.ephemeral,
            &own.private,
            psk_bytes(psk),
            &response[SECOND],
            &mut nothing,
        )
        .ok_or(DropReason::NotAuthentic)?;
        Ok(SessionKeys {
            send: *send,
            receive: *receive,
            local: self.local,
            remote: u32_at(response, 4),
            initiator: true,
        })
    }
}

/// An initiation of which only the sender's name was read. Whoever knows our public key can write one in any name.
pub(crate) struct Claim {
    /// Who is said to have sent it.
    pub(crate) peer: PublicKey,
    /// The sender's number of the session to be.
    pub(crate) sender: u32,
    state: Symmetric,
    ephemeral: Point,
    sealed_timestamp: [u8; TIMESTAMP + TAG],
}

impl Claim {
    /// Decrypts the sender's public key: one multiplication on the curve.
    ///
    /// # Errors
    /// [`DropReason::NotAuthentic`] when it was not written for our key.
    pub(crate) fn read(own: &StaticKeys, initiation: &[u8; INITIATION]) -> Result<Self, DropReason> {
        let first = ikpsk2::read_first(Symmetric::new(PROLOGUE, &own.public.0), &own.private, &initiation[FIRST])
            .ok_or(DropReason::NotAuthentic)?;
        let sealed_timestamp = first.payload.try_into().map_err(|_| DropReason::Malformed)?;
        Ok(Self {
            peer: PublicKey(first.peer),
            sender: u32_at(initiation, 4),
            state: first.state,
            ephemeral: first.ephemeral,
            sealed_timestamp,
        })
    }

    /// Proves that the sender has the private key of [`Claim::peer`]. `static_static` is that peer's.
    ///
    /// # Errors
    /// [`DropReason::NotAuthentic`] when it does not have it.
    pub(crate) fn verify(mut self, static_static: &[u8; 32]) -> Result<Initiation, DropReason> {
        let mut timestamp = [0; TIMESTAMP];
        self.state
            .read_payload(static_static, &self.sealed_timestamp, &mut timestamp)
            .ok_or(DropReason::NotAuthentic)?;
        Ok(Initiation {
            timestamp: Tai64n(timestamp),
            peer: Point::from(self.peer.0),
            sender: self.sender,
            state: self.state,
            ephemeral: self.ephemeral,
        })
    }
}

/// An initiation that its peer wrote, now or earlier: whether it is a repeated one, [`Initiation::timestamp`] tells.
pub(crate) struct Initiation {
    pub(crate) timestamp: Tai64n,
    peer: Point,
    sender: u32,
    state: Symmetric,
    ephemeral: Point,
}

impl Initiation {
    /// Writes the response, its MACs still zero, and derives the session's keys. `local` is our number of the
    /// session. `None` when the peer sent a point of low order.
    pub(crate) fn respond(
        self,
        psk: Option<&PresharedKey>,
        local: u32,
        rng: &mut Random,
    ) -> Option<([u8; RESPONSE], SessionKeys)> {
        let ephemeral = StaticSecret::from(*Zeroizing::new(rng.bytes()));
        let mut message = [0; RESPONSE];
        message[..4].copy_from_slice(&RESPONSE_TYPE);
        message[4..8].copy_from_slice(&local.to_le_bytes());
        message[8..12].copy_from_slice(&self.sender.to_le_bytes());
        let (receive, send) = ikpsk2::write_second(
            self.state,
            &ikpsk2::Answer {
                peer_ephemeral: &self.ephemeral,
                peer: &self.peer,
                psk: psk_bytes(psk),
                ephemeral: &ephemeral,
            },
            &[],
            &mut message[SECOND],
        )?;
        let keys = SessionKeys {
            send: *send,
            receive: *receive,
            local,
            remote: self.sender,
            initiator: false,
        };
        Some((message, keys))
    }
}

/// Without a pre-shared key, zeros are mixed in (section 5.4.3).
fn psk_bytes(psk: Option<&PresharedKey>) -> &[u8; 32] {
    psk.map_or(&[0; 32], |psk| &psk.0)
}

#[cfg(test)]
mod tests;
