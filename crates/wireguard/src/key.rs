//! Curve25519 keys and pre-shared keys, written as `wg` writes them: 32 bytes in base64 (`man 8 wg`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of every WireGuard key, in bytes.
pub const KEY_LEN: usize = 32;

/// Why a text is not a key. The text itself is never repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not standard base64.
    #[error("a key is 44 characters of base64, as `wg genkey` and `wg pubkey` print it")]
    NotBase64,
    /// The text decodes to another number of bytes than 32.
    #[error("a key has 32 bytes (44 characters of base64), this one has {0} bytes")]
    Length(usize),
}

fn decode(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::NotBase64)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| KeyError::Length(bytes.len()))
}

/// A peer's public key: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// A device's private key. Wiped when dropped, never printed by `Debug`; ask for [`PrivateKey::to_base64`] to write it
/// to a secret file.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey(pub [u8; KEY_LEN]);

/// The optional symmetric key mixed into a peer's handshake. Wiped when dropped, never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey(pub [u8; KEY_LEN]);

impl PrivateKey {
    /// A new key from the operating system's random generator.
    ///
    /// # Errors
    /// The generator's own error, when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_LEN];
        getrandom::fill(&mut bytes)?;
        Ok(Self::clamped(bytes))
    }

    /// The key in the form in which it is used, and in which `wg` shows it (RFC 7748, section 5).
    pub fn clamped(mut bytes: [u8; KEY_LEN]) -> Self {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Self(bytes)
    }

    /// The public key that belongs to this key.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// The key as text, for a file of mode 0600.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl PresharedKey {
    /// A new key from the operating system's random generator.
    ///
    /// # Errors
    /// The generator's own error, when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_LEN];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key as text, for a file of mode 0600.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_key_of_the_rfc_7748_vector() {
        // RFC 7748 section 5.2: the first iteration, scalar 9 times the base point 9.
        let mut nine = [0; KEY_LEN];
        nine[0] = 9;
        let public = PrivateKey(nine).public_key();
        assert_eq!(public.0[..4], [0x42, 0x2c, 0x8e, 0x7a]);
        assert_eq!(public.0[28..], [0x11, 0xae, 0x30, 0x79]);
    }

    #[test]
    fn text_round_trip_and_refusals() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(key.to_base64().parse::<PrivateKey>().unwrap(), key);
        assert_eq!("AAAA".parse::<PublicKey>(), Err(KeyError::Length(3)));
        assert_eq!("not a key".parse::<PublicKey>(), Err(KeyError::NotBase64));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
        let psk = PresharedKey::generate().unwrap();
        assert_eq!(format!("{psk:?}"), "PresharedKey(hidden)");
    }
}
