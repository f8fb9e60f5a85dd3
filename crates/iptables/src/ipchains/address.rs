//! IPv4 networks as these languages write them.

use std::fmt;
use std::net::Ipv4Addr;

use fielato_netfilter::syntax::Names;
use fielato_wire::Family;

/// A network: `10.0.0.0/8`, `10/8`, `10.1.2.3`, `0/0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The address, less the bits outside the mask.
    pub address: u32,
    /// The mask.
    pub mask: u32,
}

impl Network {
    /// Whether an address is in it.
    pub const fn holds(&self, address: u32) -> bool {
        address & self.mask == self.address
    }

    /// Reads one; names of hosts too, as far as `names` knows them.
    pub fn parse(word: &str, names: &dyn Names) -> Option<Network> {
        let (address, mask) = match word.split_once('/') {
            Some((address, mask)) => (address, self::mask(mask)?),
            None => (word, u32::MAX),
        };
        let address = dotted(address).or_else(|| {
            let found = names.host(address, Family::V4);
            found.first().and_then(|address| u32::try_from(address.to_bits()).ok())
        })?;
        Some(Network {
            address: address & mask,
            mask,
        })
    }
}

fn mask(word: &str) -> Option<u32> {
    if word.contains('.') {
        return dotted(word);
    }
    let bits: u32 = word.parse().ok().filter(|bits| *bits <= 32)?;
    Some(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
}

/// One to four numbers; those that are missing are zero.
fn dotted(word: &str) -> Option<u32> {
    let mut address = 0u32;
    let mut count = 0;
    for part in word.split('.') {
        let byte: u8 = part.parse().ok()?;
        address = address << 8 | u32::from(byte);
        count += 1;
    }
    (1..=4)
        .contains(&count)
        .then(|| address.checked_shl(8 * (4 - count)).unwrap_or(0))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.address), Ipv4Addr::from(self.mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuiltinNames;

    #[test]
    fn short_forms() {
        for (word, shown) in [
            ("0/0", "0.0.0.0/0.0.0.0"),
            ("10/8", "10.0.0.0/255.0.0.0"),
            ("192.168.1.77/255.255.255.0", "192.168.1.0/255.255.255.0"),
            ("1.2.3.4", "1.2.3.4/255.255.255.255"),
        ] {
            assert_eq!(Network::parse(word, &BuiltinNames).unwrap().to_string(), shown);
        }
        for word in ["1.2.3.4.5", "256", "10/33", "nohost", "/8", ""] {
            assert_eq!(Network::parse(word, &BuiltinNames), None, "{word:?}");
        }
    }
}
