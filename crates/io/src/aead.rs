//! Which ChaCha20-Poly1305 the packets go through: the fastest that this machine has.
//!
//! ring's runs everywhere. Where the processor has AVX-512 with IFMA and Intel's Multi-Buffer Crypto library is installed
//! (Debian: `libipsec-mb1`), that one takes little more than half of ring's time for a full packet (`cargo bench -p fielato-io --bench
//! aead`). `FIELATO_CIPHER` forces one of them: `ring` or `ipsec-mb`.

#[cfg(not(ipsec_mb))]
#[path = "aead/absent.rs"]
mod ipsec_mb;
#[cfg(ipsec_mb)]
mod ipsec_mb;

use std::env;
use std::ffi::{OsStr, OsString};

use fielato_wireguard::aead::{Aead, Ring};

pub use ipsec_mb::IpsecMb;

/// Name of the environment variable that forces a cipher.
pub const VARIABLE: &str = "FIELATO_CIPHER";

/// A worker's ChaCha20-Poly1305.
pub enum Cipher {
    /// ring's.
    Ring(Ring),
    /// Intel's Multi-Buffer Crypto for IPsec library.
    IpsecMb(IpsecMb),
}

impl Cipher {
    /// For logs: `ring`, or `ipsec-mb 1.3 (AVX-512)`.
    pub fn name(&self) -> String {
        match self {
            Self::Ring(_) => "ring".to_owned(),
            Self::IpsecMb(cipher) => {
                let (major, minor) = cipher.version();
                format!("ipsec-mb {major}.{minor} (AVX-512)")
            }
        }
    }
}

impl Aead for Cipher {
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; 16] {
        match self {
            Self::Ring(cipher) => cipher.seal(key, counter, data),
            Self::IpsecMb(cipher) => cipher.seal(key, counter, data),
        }
    }

    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; 16]) -> bool {
        match self {
            Self::Ring(cipher) => cipher.open(key, counter, data, tag),
            Self::IpsecMb(cipher) => cipher.open(key, counter, data, tag),
        }
    }
}

/// The fastest cipher of this machine, or the one that the environment forces. A worker makes one for itself: Intel's has memory of
/// its own for every thread that ciphers (0.2 MB).
///
/// # Errors
/// When [`VARIABLE`] has a value that is no cipher, or forces one that can't be used here.
pub fn best() -> Result<Cipher, ChoiceError> {
    Choice::from_env(env::var_os(VARIABLE).as_deref())?.cipher()
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Fastest,
    Ring,
    IpsecMb,
}

impl Choice {
    /// An empty value is the same as none, as with other programs' variables.
    fn from_env(value: Option<&OsStr>) -> Result<Self, ChoiceError> {
        match value.map(OsStr::as_encoded_bytes) {
            None | Some(b"") => Ok(Self::Fastest),
            Some(b"ring") => Ok(Self::Ring),
            Some(b"ipsec-mb") => Ok(Self::IpsecMb),
            Some(_) => Err(ChoiceError::Unknown(value.unwrap_or_default().to_owned())),
        }
    }

    fn cipher(self) -> Result<Cipher, ChoiceError> {
        match self {
            Self::Ring => Ok(Cipher::Ring(Ring)),
            Self::IpsecMb => Ok(Cipher::IpsecMb(IpsecMb::new()?)),
            Self::Fastest => Ok(IpsecMb::new().map_or_else(
                |reason| {
                    log::debug!("cipher: ring's, because {reason}");
                    Cipher::Ring(Ring)
                },
                Cipher::IpsecMb,
            )),
        }
    }
}

/// Why there is no cipher as asked for.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// The variable's value is unknown.
    #[error("{VARIABLE}={}: no such cipher; it is `ring`, `ipsec-mb`, or unset for the faster of them", .0.display())]
    Unknown(OsString),
    /// Intel's library was asked for and can't be used.
    #[error("{VARIABLE}=ipsec-mb: {0}")]
    Unusable(#[from] Unusable),
}

/// Why Intel's library can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not x86-64, or the header was missing when this program was built.
    #[error(
        "this program was built without Intel's Multi-Buffer Crypto library; on x86-64, install its header (Debian: \
         libipsec-mb-dev) and build again"
    )]
    NotBuilt,
    /// The processor would run code that is no faster than ring's.
    #[error("this processor lacks AVX-512 with IFMA, without which Intel's library is no faster than ring")]
    Processor,
    /// The library can't be opened.
    #[error("{library} can't be opened ({reason}); install it (Debian: libipsec-mb1)")]
    Missing {
        /// The file's name.
        library: String,
        /// What the dynamic linker said.
        reason: String,
    },
    /// A function is missing.
    #[error("{library} has no function {symbol}; install Intel's Multi-Buffer Crypto library anew (Debian: libipsec-mb1)")]
    Symbol {
        /// The file's name.
        library: String,
        /// The function's name.
        symbol: &'static str,
    },
    /// Its structures may be laid out differently.
    #[error(
        "Intel's Multi-Buffer Crypto library is version {}.{}, this program was built for {}.{}; build it with that version's header",
        .found.0, .found.1, .built.0, .built.1
    )]
    Version {
        /// The library's, major and minor.
        found: (u32, u32),
        /// The header's.
        built: (u32, u32),
    },
    /// There is no memory.
    #[error("Intel's Multi-Buffer Crypto library could not allocate its memory")]
    Memory,
    /// The library failed its own test, or chose other code.
    #[error("Intel's Multi-Buffer Crypto library did not choose its AVX-512 code on this processor")]
    Architecture,
    /// Its results differ from ring's.
    #[error("Intel's Multi-Buffer Crypto library gives wrong results on this processor; use ring, and report this")]
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses() {
        for (value, choice) in [
            (None, Choice::Fastest),
            (Some(""), Choice::Fastest),
            (Some("ring"), Choice::Ring),
            (Some("ipsec-mb"), Choice::IpsecMb),
        ] {
            assert_eq!(Choice::from_env(value.map(OsStr::new)).unwrap(), choice);
        }
        let error = Choice::from_env(Some(OsStr::new("rign"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "FIELATO_CIPHER=rign: no such cipher; it is `ring`, `ipsec-mb`, or unset for the faster of them"
        );
        assert_eq!(Choice::Ring.cipher().unwrap_or_else(|error| panic!("{error}")).name(), "ring");
    }

    #[test]
    fn what_is_forced_is_used_or_refused_and_what_is_fastest_always_exists() {
        let fastest = Choice::Fastest.cipher().unwrap_or_else(|error| panic!("{error}")).name();
        match Choice::IpsecMb.cipher() {
            Ok(cipher) => assert_eq!(cipher.name(), fastest),
            Err(error) => {
                assert!(matches!(error, ChoiceError::Unusable(_)), "{error}");
                assert_eq!(fastest, "ring");
            }
        }
    }
}
