//! IPv6 prefix translation (`ip6t_NPT.c`, RFC 6296), which SNPT and DNPT share.

use fielato_wire::{Addr, Family, checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::{Hook, Packet};

/// A translation between prefixes: an address's sum stays, so no checksum changes and nothing need be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// What is replaced (`--src-pfx`).
    pub from: Addr,
    /// Its length, at most 64.
    pub from_len: u8,
    /// What takes its place (`--dst-pfx`).
    pub to: Addr,
    /// Its length, at most 64.
    pub to_len: u8,
}

impl Prefixes {
    pub(super) fn check(&self, name: &str, hooks: &[Hook], cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family(name, Family::V6)?;
        cx.only_tables(name, &["mangle"])?;
        cx.only_hooks(name, hooks)?;
        let sound = |prefix: Addr, len: u8| len <= 64 && prefix.and(Addr::mask(Family::V6, len)) == prefix;
        if !sound(self.from, self.from_len) || !sound(self.to, self.to_len) {
            return Err(CheckError(format!(
                "{name}: prefixes have at most 64 bits and none set beyond"
            )));
        }
        Ok(())
    }

    /// The address in the other prefix; none when it has no word left to even out the sum.
    pub(super) fn map(&self, address: Addr) -> Option<Addr> {
        let len = self.from_len.max(self.to_len);
        let mask = Addr::mask(Family::V6, len);
        let mapped = address.and(mask.not(Family::V6)).or(self.to.and(mask));
        let mut bytes = mapped.to_bits().to_be_bytes();
        // Up to /48 the subnet evens the sum out; beyond, the first word of the interface part that is not all ones.
        let place = match len {
            0..=48 => 6,
            _ => (8..16).step_by(2).find(|&at| bytes.get(at..at + 2) != Some(&[0xff, 0xff]))?,
        };
        let sum = |address: Addr| u64::from(checksum::fold(checksum::sum(&address.to_bits().to_be_bytes())));
        let word = bytes.get_mut(place..place + 2)?;
        let old = u64::from(word[0]) << 8 | u64::from(word[1]);
        let new = match checksum::fold(old + sum(self.from) + (0xffff - sum(self.to))) {
            0xffff => 0,
            new => new,
        };
        word.copy_from_slice(&new.to_be_bytes());
        Some(Addr::read(&bytes))
    }

    /// Maps the address at `at` of the packet that an ICMPv6 error quotes, when it is in the prefix.
    pub(super) fn map_quoted(&self, packet: &mut Packet, at: usize) {
        let headers = packet.headers;
        // Only without extension headers (`icmpv6_bounced_ipv6hdr`).
        let direct = packet.data.get(6) == Some(&number::ICMPV6);
        if !direct || headers.icmp_type >= 128 {
            return;
        }
        // Of a quoted header in two fragments the kernel rewrites a copy (`skb_header_pointer`).
        let first = packet.pieces.as_ref().and_then(|pieces| pieces.sizes.first());
        if first.is_some_and(|&size| size < 8 + 40) {
            return;
        }
        let transport = headers.transport_mut(&mut packet.data);
        let Some(quoted) = transport.get_mut(8..48).and_then(|header| header.get_mut(at..at + 16)) else {
            return;
        };
        let address = Addr::read(quoted);
        if address.within(self.from, Addr::mask(Family::V6, self.from_len))
            && let Some(mapped) = self.map(address)
        {
            mapped.write(quoted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Addr {
        text.parse::<std::net::Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn maps_as_rfc_6296_does() {
        // RFC 6296 §3.1's example.
        let out = Prefixes {
            from: address("fd01:203:405::"),
            from_len: 48,
            to: address("2001:db8:1::"),
            to_len: 48,
        };
        let inside = address("fd01:203:405:1::1234");
        let outside = address("2001:db8:1:d550::1234");
        assert_eq!(out.map(inside), Some(outside));
        let back = Prefixes {
            from: out.to,
            to: out.from,
            ..out
        };
        assert_eq!(back.map(outside), Some(inside));
    }
}
