//! The two MACs at the end of handshake messages, and the cookies behind the second one (WireGuard paper, sections
//! 5.3, 5.4.4 and 5.4.7).
//!
//! mac1 shows that the sender knows the receiver's public key. mac2 shows that the sender gets what is sent to its
//! address: a receiver under load answers with a cookie instead of doing the work, and the next message carries
//! a MAC made with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hmac::Mac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::drops::DropReason;
use crate::key::PublicKey;
use crate::limits::{COOKIE_LATENCY, COOKIE_SECRET_MAX_AGE};
use crate::message::{COOKIE_REPLY, COOKIE_REPLY_TYPE, MACS, TAG};
use crate::random::Random;

const MAC: usize = 16;
const NONCE: usize = 24;
const NO_MAC: [u8; MAC] = [0; MAC];

type Cookie = [u8; MAC];

/// BLAKE2s with its own key parameter and 16 bytes of output: the paper's MAC, which is not an HMAC (section 5.4).
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC] {
    let mut mac =
        <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("keys here have 16 or 32 bytes, BLAKE2s takes up to 32");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn labelled(label: &[u8; 8], public: &PublicKey) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(public.0).finalize().into()
}

/// The key of mac1 in messages to the owner of a public key.
fn mac1_key(public: &PublicKey) -> [u8; 32] {
    labelled(b"mac1----", public)
}

/// The key that seals cookies from the owner of a public key.
fn cookie_key(public: &PublicKey) -> [u8; 32] {
    labelled(b"cookie--", public)
}

/// A handshake message as its MACs see it.
struct Parts<'a> {
    /// What mac1 is over.
    body: &'a [u8],
    mac1: &'a [u8; MAC],
    mac2: &'a [u8; MAC],
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let (rest, mac2) = message.split_last_chunk()?;
        let (body, mac1) = rest.split_last_chunk()?;
        Some(Self { body, mac1, mac2 })
    }
}

/// The MACs of our messages to one peer.
pub(crate) struct Macs {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    /// mac1 of the last message, as long as no cookie came for it.
    last_mac1: Option<[u8; MAC]>,
    cookie: Option<(Zeroizing<Cookie>, Instant)>,
}

impl Macs {
    pub(crate) fn new(peer: &PublicKey) -> Self {
        Self {
            mac1_key: mac1_key(peer),
            cookie_key: cookie_key(peer),
            last_mac1: None,
            cookie: None,
        }
    }

    /// Writes both MACs into the last 32 bytes of a handshake message; the second is zeros without a fresh cookie.
    pub(crate) fn sign(&mut self, message: &mut [u8], now: Instant) {
        let Some((body, macs)) = message.split_last_chunk_mut::<MACS>() else {
            return;
        };
        let mac1 = mac(&self.mac1_key, &[body]);
        self.last_mac1 = Some(mac1);
        // The other side may have replaced its secret a moment before ours turns old: stop a little earlier, as the
        // kernel does.
        let lifetime = COOKIE_SECRET_MAX_AGE - COOKIE_LATENCY;
        let mac2 = match &self.cookie {
            Some((cookie, received)) if now.saturating_duration_since(*received) < lifetime => mac(&**cookie, &[body, &mac1]),
            _ => NO_MAC,
        };
        macs[..MAC].copy_from_slice(&mac1);
        macs[MAC..].copy_from_slice(&mac2);
    }

    /// Takes the cookie that answers our last message; only the first one, so that nobody can make us decrypt more.
    ///
    /// # Errors
    /// [`DropReason::Unexpected`] when we sent nothing that it could answer, [`DropReason::NotAuthentic`] when it was
    /// made without knowledge of our message or of the peer's public key.
    pub(crate) fn read_reply(&mut self, reply: &[u8; COOKIE_REPLY], now: Instant) -> Result<(), DropReason> {
        let mac1 = self.last_mac1.ok_or(DropReason::Unexpected)?;
        let (head, sealed) = reply.split_last_chunk::<{ MAC + TAG }>().ok_or(DropReason::Malformed)?;
        let (_, nonce) = head.split_last_chunk::<NONCE>().ok_or(DropReason::Malformed)?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(DropReason::Malformed)?;
        let mut cookie = Zeroizing::new([0; MAC]);
        cookie.copy_from_slice(sealed);
        XChaCha20Poly1305::new(&self.cookie_key.into())
            .decrypt_in_place_detached(nonce.into(), &mac1, &mut *cookie, tag.into())
            .map_err(|_| DropReason::NotAuthentic)?;
        self.cookie = Some((cookie, now));
        self.last_mac1 = None;
        Ok(())
    }
}

/// The MACs of messages to us, and the cookies that we give out.
pub(crate) struct Checker {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    /// What cookies are made from, and since when. A cookie thus lives two minutes at most; old secrets are not
    /// kept: the paper has one at a time, and who comes with an older cookie is given a new one.
    secret: Option<(Zeroizing<[u8; 32]>, Instant)>,
}

impl Checker {
    pub(crate) fn new(own: &PublicKey) -> Self {
        Self {
            mac1_key: mac1_key(own),
            cookie_key: cookie_key(own),
            secret: None,
        }
    }

    /// Whether the sender of a handshake message knows our public key.
    pub(crate) fn mac1_is_valid(&self, message: &[u8]) -> bool {
        Parts::of(message).is_some_and(|parts| mac(&self.mac1_key, &[parts.body]).ct_eq(parts.mac1).into())
    }

    /// Whether a handshake message was made with a cookie that we sent to `from` lately.
    pub(crate) fn mac2_is_valid(&self, message: &[u8], from: SocketAddr, now: Instant) -> bool {
        let (Some(parts), Some(secret)) = (Parts::of(message), self.secret(now)) else {
            return false;
        };
        // The usual case under a flood costs no MAC.
        if *parts.mac2 == NO_MAC {
            return false;
        }
        let cookie = cookie_of(secret, from);
        mac(&*cookie, &[parts.body, parts.mac1]).ct_eq(parts.mac2).into()
    }

    /// The cookie reply to a handshake message, with its sender's number of the session as receiver.
    pub(crate) fn reply(&mut self, message: &[u8], from: SocketAddr, now: Instant, rng: &mut Random) -> [u8; COOKIE_REPLY] {
        if self.secret(now).is_none() {
            self.secret = Some((Zeroizing::new(rng.bytes()), now));
        }
        let mut reply = [0; COOKIE_REPLY];
        let (Some(secret), Some(parts)) = (self.secret(now), Parts::of(message)) else {
            return reply;
        };
        let mut cookie = cookie_of(secret, from);
        // 192 random bits: no two replies of a key share a nonce (section 5.4.7).
        let nonce: [u8; NONCE] = rng.bytes();
        let tag = XChaCha20Poly1305::new(&self.cookie_key.into())
            .encrypt_in_place_detached(&nonce.into(), parts.mac1, &mut *cookie)
            .expect("16 bytes are below the cipher's limit");
        reply[..4].copy_from_slice(&COOKIE_REPLY_TYPE);
        reply[4..8].copy_from_slice(message.get(4..8).unwrap_or(&[0; 4]));
        reply[8..32].copy_from_slice(&nonce);
        reply[32..48].copy_from_slice(&*cookie);
        reply[48..].copy_from_slice(&tag);
        reply
    }

    fn secret(&self, now: Instant) -> Option<&[u8; 32]> {
        let (secret, born) = self.secret.as_ref()?;
        (now.saturating_duration_since(*born) < COOKIE_SECRET_MAX_AGE).then_some(secret)
    }
}

/// The cookie of one address and port.
fn cookie_of(secret: &[u8; 32], from: SocketAddr) -> Zeroizing<Cookie> {
    let port = from.port().to_be_bytes();
    // A socket for both families shows IPv4 addresses as mapped ones; they are the same sender.
    Zeroizing::new(match from.ip().to_canonical() {
        IpAddr::V4(address) => mac(secret, &[&address.octets(), &port]),
        IpAddr::V6(address) => mac(secret, &[&address.octets(), &port]),
    })
}

#[cfg(test)]
mod tests;
