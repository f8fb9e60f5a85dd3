//! Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (the Noise Protocol Framework, revision 34, sections 5, 7.5 and 9):
//!
//! ```text
//! <- s
//! ...
//! -> e, es, s, ss, payload
//! <- e, ee, se, psk, payload
//! ```
//!
//! Prologue, ephemeral keys and payloads come in as arguments, so that the published vectors can be tried.

use blake2::{Blake2s256, Digest};
use hmac::{Mac, SimpleHmac};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aead;
use crate::message::TAG;

const NAME: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

type Key = Zeroizing<[u8; 32]>;

/// Noise's symmetric state: the chaining key and the hash of all that was said.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Symmetric {
    chain: [u8; 32],
    hash: [u8; 32],
}

impl Symmetric {
    /// The state before the first message; the responder's public key is known to both.
    pub(super) fn new(prologue: &[u8], responder: &[u8; 32]) -> Self {
        // The name is longer than a hash, so its hash takes its place (section 5.2, InitializeSymmetric).
        let name = Blake2s256::digest(NAME).into();
        let mut state = Self { chain: name, hash: name };
        state.mix_hash(prologue);
        state.mix_hash(responder);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Blake2s256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    /// Mixes `input` into the chain; the result is the key for what is sealed next.
    fn mix_key(&mut self, input: &[u8]) -> Key {
        let [chain, key, _] = self.derive(input);
        self.chain = *chain;
        key
    }

    /// The same with a secret that two keys share; `None` when it is all zeros, that is, nobody's contribution.
    fn mix_shared(&mut self, own: &StaticSecret, other: &Point) -> Option<Key> {
        let shared = own.diffie_hellman(other);
        shared.was_contributory().then(|| self.mix_key(shared.as_bytes()))
    }

    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        // With a psk in the pattern, ephemeral keys go into the chain as well (section 9.2).
        self.mix_key(public);
    }

    fn mix_psk(&mut self, psk: &[u8; 32]) -> Key {
        let [chain, hash, key] = self.derive(psk);
        self.chain = *chain;
        self.mix_hash(&*hash);
        key
    }

    /// The keys of the session: the initiator's for sending, then the responder's.
    fn split(self) -> (Key, Key) {
        let [first, second, _] = self.derive(&[]);
        (first, second)
    }

    /// HKDF (section 4.3). The third output is rarely used and costs one HMAC, not a curve's multiplication.
    fn derive(&self, input: &[u8]) -> [Key; 3] {
        let secret = hmac(&self.chain, &[input]);
        let first = hmac(&secret, &[&[1]]);
        let second = hmac(&secret, &[&*first, &[2]]);
        let third = hmac(&secret, &[&*second, &[3]]);
        [first, second, third]
    }

    /// Writes `plain` sealed into `out`, which is [`TAG`] bytes longer.
    fn seal(&mut self, key: &Key, plain: &[u8], out: &mut [u8]) -> Option<()> {
        let (data, tag) = out.split_last_chunk_mut::<TAG>()?;
        if data.len() != plain.len() {
            return None;
        }
        data.copy_from_slice(plain);
        *tag = aead::seal_with(key, 0, &self.hash, data);
        self.mix_hash(out);
        Some(())
    }

    /// The reverse: `out` is [`TAG`] bytes shorter than `sealed`.
    fn open(&mut self, key: &Key, sealed: &[u8], out: &mut [u8]) -> Option<()> {
        let (data, tag) = sealed.split_last_chunk::<TAG>()?;
        if data.len() != out.len() {
            return None;
        }
        out.copy_from_slice(data);
        if !aead::open_with(key, 0, &self.hash, out, tag) {
            out.zeroize();
            return None;
        }
        self.mix_hash(sealed);
        Some(())
    }

    /// The end of reading the first message, when it is known whose it claims to be: `ss, payload`.
    pub(super) fn read_payload(&mut self, static_static: &[u8; 32], sealed: &[u8], payload: &mut [u8]) -> Option<()> {
        let key = self.mix_key(static_static);
        self.open(&key, sealed, payload)
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    let mut mac = SimpleHmac::<Blake2s256>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Who writes a first message, and to whom.
pub(super) struct Writer<'a> {
    pub(super) own_public: &'a [u8; 32],
    pub(super) peer: &'a Point,
    pub(super) static_static: &'a [u8; 32],
    pub(super) ephemeral: &'a StaticSecret,
}

/// Writes `-> e, es, s, ss, payload`; `out` is 96 bytes longer than the payload. `None` for keys of low order.
pub(super) fn write_first(mut state: Symmetric, writer: &Writer<'_>, payload: &[u8], out: &mut [u8]) -> Option<Symmetric> {
    let (e, rest) = out.split_first_chunk_mut::<32>()?;
    let (s, sealed_payload) = rest.split_first_chunk_mut::<{ 32 + TAG }>()?;

    *e = Point::from(writer.ephemeral).to_bytes();
    state.mix_ephemeral(e);
    let key = state.mix_shared(writer.ephemeral, writer.peer)?;
    state.seal(&key, writer.own_public, s)?;
    let key = state.mix_key(writer.static_static);
    state.seal(&key, payload, sealed_payload)?;
    Some(state)
}

/// What [`read_first`] found.
pub(super) struct First<'a> {
    pub(super) state: Symmetric,
    pub(super) ephemeral: Point,
    /// The initiator's static key, so far only claimed.
    pub(super) peer: [u8; 32],
    /// For [`Symmetric::read_payload`].
    pub(super) payload: &'a [u8],
}

/// Reads `-> e, es, s`.
pub(super) fn read_first<'a>(mut state: Symmetric, own: &StaticSecret, message: &'a [u8]) -> Option<First<'a>> {
    let (e, rest) = message.split_first_chunk::<32>()?;
    let (s, payload) = rest.split_first_chunk::<{ 32 + TAG }>()?;

    state.mix_ephemeral(e);
    let ephemeral = Point::from(*e);
    let key = state.mix_shared(own, &ephemeral)?;
    let mut peer = [0; 32];
    state.open(&key, s, &mut peer)?;
    Some(First {
        state,
        ephemeral,
        peer,
        payload,
    })
}

/// Who answers a first message, and to whom.
pub(super) struct Answer<'a> {
    pub(super) peer_ephemeral: &'a Point,
    pub(super) peer: &'a Point,
    pub(super) psk: &'a [u8; 32],
    pub(super) ephemeral: &'a StaticSecret,
}

/// Writes `<- e, ee, se, psk, payload`; `out` is 48 bytes longer than the payload. The session's keys are the
/// initiator's for sending, then the responder's.
pub(super) fn write_second(mut state: Symmetric, answer: &Answer<'_>, payload: &[u8], out: &mut [u8]) -> Option<(Key, Key)> {
    let (e, sealed_payload) = out.split_first_chunk_mut::<32>()?;

    *e = Point::from(answer.ephemeral).to_bytes();
    state.mix_ephemeral(e);
    state.mix_shared(answer.ephemeral, answer.peer_ephemeral)?;
    state.mix_shared(answer.ephemeral, answer.peer)?;
    let key = state.mix_psk(answer.psk);
    state.seal(&key, payload, sealed_payload)?;
    Some(state.split())
}

/// Reads `<- e, ee, se, psk, payload`. The session's keys are in [`write_second`]'s order.
pub(super) fn read_second(
    mut state: Symmetric,
    ephemeral: &StaticSecret,
    own: &StaticSecret,
    psk: &[u8; 32],
    message: &[u8],
    payload: &mut [u8],
) -> Option<(Key, Key)> {
    let (e, sealed_payload) = message.split_first_chunk::<32>()?;

    state.mix_ephemeral(e);
    let peer_ephemeral = Point::from(*e);
    state.mix_shared(ephemeral, &peer_ephemeral)?;
    state.mix_shared(own, &peer_ephemeral)?;
    let key = state.mix_psk(psk);
    state.open(&key, sealed_payload, payload)?;
    Some(state.split())
}

#[cfg(test)]
mod tests;
