//! Addresses of both families in one type that compares, masks and hashes in a few instructions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bits of an address: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// Bytes of an address: 4 or 16.
    pub const fn bytes(self) -> usize {
        self.bits() as usize / 8
    }
}

/// An address of either family. IPv4 stands in the low 32 bits; the family is known from the context (a packet, a
/// tuple, a rule set), so that comparing and masking need no branch on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr {
    /// The high 64 bits; 0 for IPv4.
    pub hi: u64,
    /// The low 64 bits.
    pub lo: u64,
}

impl Addr {
    /// The unspecified address of either family.
    pub const ZERO: Addr = Addr { hi: 0, lo: 0 };

    /// From its number.
    pub const fn from_bits(bits: u128) -> Addr {
        Addr {
            hi: (bits >> 64) as u64,
            lo: bits as u64,
        }
    }

    /// As a number: IPv4 in the low 32 bits.
    pub const fn to_bits(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }

    /// An IPv4 address.
    pub const fn v4(address: Ipv4Addr) -> Addr {
        Addr {
            hi: 0,
            lo: address.to_bits() as u64,
        }
    }

    /// An IPv6 address.
    pub const fn v6(address: Ipv6Addr) -> Addr {
        Addr::from_bits(address.to_bits())
    }

    /// As the standard library's type.
    pub const fn to_ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.lo as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.to_bits())),
        }
    }

    /// The mask of a prefix of `len` bits; all ones when `len` is the family's width or more.
    pub const fn mask(family: Family, len: u8) -> Addr {
        let width = family.bits();
        let all = match family {
            Family::V4 => u32::MAX as u128,
            Family::V6 => u128::MAX,
        };
        if len >= width {
            return Addr::from_bits(all);
        }
        if len == 0 {
            return Addr::ZERO;
        }
        let host = (1u128 << (width - len)) - 1;
        Addr::from_bits(all & !host)
    }

    /// The length of the prefix that this mask is; none when it has holes.
    pub fn prefix_len(self, family: Family) -> Option<u8> {
        let ones = (self.to_bits() << (128 - u32::from(family.bits()))).leading_ones() as u8;
        (Addr::mask(family, ones) == self).then_some(ones)
    }

    /// Bitwise and.
    pub const fn and(self, mask: Addr) -> Addr {
        Addr {
            hi: self.hi & mask.hi,
            lo: self.lo & mask.lo,
        }
    }

    /// Bitwise or.
    pub const fn or(self, other: Addr) -> Addr {
        Addr {
            hi: self.hi | other.hi,
            lo: self.lo | other.lo,
        }
    }

    /// Bitwise not, within the family's width.
    pub const fn not(self, family: Family) -> Addr {
        let all = Addr::mask(family, family.bits());
        Addr {
            hi: !self.hi & all.hi,
            lo: !self.lo & all.lo,
        }
    }

    /// Whether `(self & mask) == network`.
    pub const fn within(self, network: Addr, mask: Addr) -> bool {
        ((self.hi & mask.hi) ^ network.hi) | ((self.lo & mask.lo) ^ network.lo) == 0
    }

    /// Reads an address in network byte order; `bytes` is 4 or 16 long.
    pub fn read(bytes: &[u8]) -> Addr {
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Addr {
                hi: 0,
                lo: u32::from_be_bytes(v4) as u64,
            };
        }
        match <[u8; 16]>::try_from(bytes) {
            Ok(v6) => Addr::from_bits(u128::from_be_bytes(v6)),
            Err(_) => Addr::ZERO,
        }
    }

    /// Writes the address in network byte order; `bytes` is 4 or 16 long.
    pub fn write(self, bytes: &mut [u8]) {
        match bytes.len() {
            4 => bytes.copy_from_slice(&(self.lo as u32).to_be_bytes()),
            _ => bytes[..16].copy_from_slice(&self.to_bits().to_be_bytes()),
        }
    }

    /// For printing: `addr.display(family)`.
    pub const fn display(self, family: Family) -> impl fmt::Display {
        self.to_ip(family)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Addr {
        match ip {
            IpAddr::V4(v4) => Addr::v4(v4),
            IpAddr::V6(v6) => Addr::v6(v6),
        }
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(v4: Ipv4Addr) -> Addr {
        Addr::v4(v4)
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(v6: Ipv6Addr) -> Addr {
        Addr::v6(v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_their_width() {
        assert_eq!(Addr::mask(Family::V4, 0), Addr::ZERO);
        assert_eq!(Addr::mask(Family::V4, 24).to_bits(), 0xffff_ff00);
        assert_eq!(Addr::mask(Family::V4, 32).to_bits(), 0xffff_ffff);
        assert_eq!(Addr::mask(Family::V6, 0), Addr::ZERO);
        assert_eq!(Addr::mask(Family::V6, 64), Addr { hi: u64::MAX, lo: 0 });
        assert_eq!(Addr::mask(Family::V6, 128).to_bits(), u128::MAX);
    }

    #[test]
    fn masks_have_a_length_or_holes() {
        for family in [Family::V4, Family::V6] {
            for len in 0..=family.bits() {
                assert_eq!(Addr::mask(family, len).prefix_len(family), Some(len));
            }
        }
        assert_eq!(Addr::from(Ipv4Addr::new(255, 0, 255, 0)).prefix_len(Family::V4), None);
        assert_eq!(Addr::mask(Family::V6, 64).prefix_len(Family::V4), None);
    }

    #[test]
    fn reads_what_it_wrote() {
        let v4 = Addr::from(Ipv4Addr::new(192, 168, 4, 1));
        let mut bytes = [0; 4];
        v4.write(&mut bytes);
        assert_eq!((bytes, Addr::read(&bytes)), ([192, 168, 4, 1], v4));

        let v6 = Addr::from("2001:db8::7".parse::<Ipv6Addr>().unwrap());
        let mut bytes = [0; 16];
        v6.write(&mut bytes);
        assert_eq!(Addr::read(&bytes), v6);
        assert_eq!(v6.display(Family::V6).to_string(), "2001:db8::7");
    }
}
