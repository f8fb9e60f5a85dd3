//! Stands in for Intel's library where this program was built without its header.

use std::convert::Infallible;

use fielato_wireguard::aead::Aead;

use super::Unusable;

/// Never made: see [`Unusable::NotBuilt`].
pub struct IpsecMb(Infallible);

impl IpsecMb {
    /// # Errors
    /// Always [`Unusable::NotBuilt`].
    pub fn new() -> Result<Self, Unusable> {
        Err(Unusable::NotBuilt)
    }

    pub(super) fn version(&self) -> (u32, u32) {
        match self.0 {}
    }
}

impl Aead for IpsecMb {
    fn seal(&mut self, _: &[u8; 32], _: u64, _: &mut [u8]) -> [u8; 16] {
        match self.0 {}
    }

    fn open(&mut self, _: &[u8; 32], _: u64, _: &mut [u8], _: &[u8; 16]) -> bool {
        match self.0 {}
    }
}
