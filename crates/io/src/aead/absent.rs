//! Stands in for Intel's library where this program was built without its header.

use fielato_wireguard::aead::Aead;

use super::Unusable;

/// Never made: see [`Unusable::NotBuilt`].
pub enum IpsecMb {}

impl IpsecMb {
    /// # Errors
    /// Always [`Unusable::NotBuilt`].
    pub fn new() -> Result<Self, Unusable> {
        Err(Unusable::NotBuilt)
    }

    pub(super) fn version(&self) -> (u32, u32) {
        match *self {}
    }
}

impl Aead for IpsecMb {
    fn seal(&mut self, _: &[u8; 32], _: u64, _: &mut [u8]) -> [u8; 16] {
        match *self {}
    }

    fn open(&mut self, _: &[u8; 32], _: u64, _: &mut [u8], _: &[u8; 16]) -> bool {
        match *self {}
    }
}
