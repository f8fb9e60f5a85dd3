//! Neighbour discovery over IPv6 (RFC 4861): solicitations and advertisements. Routers, redirects, and optimistic addresses
//! (RFC 4429) are left out.

use std::net::Ipv6Addr;

use fielato_wire::build::Ip;
use fielato_wire::{Addr, Family, Headers, checksum, number};

use super::ethernet::Mac;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Options: the link-layer address of the source, and of the target.
const SOURCE: u8 = 1;
const TARGET: u8 = 2;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A message about a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// Who has `target`?
    Solicitation {
        from: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<Mac>,
    },
    /// `target` is here.
    Advertisement {
        target: Ipv6Addr,
        mac: Option<Mac>,
        solicited: bool,
        overrides: bool,
    },
}

/// What a packet is to neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Nothing.
    Other,
    /// A message that must be ignored (RFC 4861 §7.1).
    Invalid,
    /// A valid message.
    Message(Message),
}

/// Reads a packet, from its IP header on.
pub(super) fn parse(packet: &[u8]) -> Parsed {
    let Ok(headers) = Headers::receive(packet) else {
        return Parsed::Other;
    };
    let is_ndp = headers.family == Family::V6
        && headers.protocol == number::ICMPV6
        && headers.l4_whole
        && !headers.is_fragment()
        && matches!(headers.icmp_type, SOLICITATION | ADVERTISEMENT);
    if !is_ndp {
        return Parsed::Other;
    }
    match read(&headers, headers.transport(packet)) {
        Some(message) => Parsed::Message(message),
        None => Parsed::Invalid,
    }
}

/// RFC 4861 §7.1.1 and §7.1.2; none when one of their conditions doesn't hold.
fn read(headers: &Headers, icmp: &[u8]) -> Option<Message> {
    let sum = checksum::transport(headers.src, headers.dst, number::ICMPV6, icmp);
    if headers.ttl != 255 || headers.icmp_code != 0 || sum != 0 {
        return None;
    }
    let flags = *icmp.get(4)?;
    let target: &[u8; 16] = icmp.get(8..)?.first_chunk()?;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return None;
    }
    let (from, to) = (Ipv6Addr::from(headers.src.to_bits()), Ipv6Addr::from(headers.dst.to_bits()));
    let options = icmp.get(24..)?;
    if headers.icmp_type == SOLICITATION {
        let mac = option(options, SOURCE)?;
        // A host that has no address yet asks whether somebody else has it (RFC 4862 §5.4).
        if from.is_unspecified() && (to != solicited_node(target) || mac.is_some()) {
            return None;
        }
        return Some(Message::Solicitation { from, target, mac });
    }
    let (solicited, overrides) = (flags & 0x40 != 0, flags & 0x20 != 0);
    if to.is_multicast() && solicited {
        return None;
    }
    Some(Message::Advertisement {
        target,
        mac: option(options, TARGET)?,
        solicited,
        overrides,
    })
}

/// The link-layer address in the option of this kind; none when an option has no length.
fn option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, length, ..] = options {
        let length = usize::from(*length) * 8;
        if length == 0 {
            return None;
        }
        let body = options.get(2..length)?;
        if *kind == wanted {
            found = found.or(body.first_chunk().copied());
        }
        options = options.get(length..)?;
    }
    options.is_empty().then_some(found)
}

/// The group that whoever has `address` listens to (RFC 4291 §2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | address.to_bits() & 0x00ff_ffff)
}

/// The address that a port makes itself of its Ethernet address (RFC 4291, appendix A).
pub(super) fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(interface))
}

/// The packet that asks `to` for `target`.
pub(super) fn solicitation(from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    message(from, to, SOLICITATION, 0, target, (SOURCE, mac))
}

/// The packet that tells that this router has `target`, to who asked, or to all when it has no address yet.
pub(super) fn advertisement(target: Ipv6Addr, to: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let (to, solicited) = match to.is_unspecified() {
        true => (ALL_NODES, 0),
        false => (to, 0x4000_0000),
    };
    // A router's (R), and it takes the place of what was known (O).
    message(target, to, ADVERTISEMENT, 0xa000_0000 | solicited, target, (TARGET, mac))
}

fn message(from: Ipv6Addr, to: Ipv6Addr, kind: u8, flags: u32, target: Ipv6Addr, (option, mac): (u8, Mac)) -> Vec<u8> {
    let body = [&target.octets()[..], &[option, 1], &mac].concat();
    let ip = Ip::new(Family::V6, Addr::v6(from), Addr::v6(to)).ttl(255);
    ip.icmp(kind, 0, flags, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let (from, target) = (address("fe80::1"), address("2001:db8::12:3456"));
        assert_eq!(solicited_node(target), address("ff02::1:ff12:3456"));
        assert_eq!(
            link_local([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            address("fe80::5054:ff:fe12:3456")
        );
        let question = solicitation(from, solicited_node(target), target, MAC);
        let expected = Message::Solicitation {
            from,
            target,
            mac: Some(MAC),
        };
        assert_eq!(parse(&question), Parsed::Message(expected));
        for (to, solicited) in [(from, true), (Ipv6Addr::UNSPECIFIED, false)] {
            let answer = advertisement(target, to, MAC);
            let expected = Message::Advertisement {
                target,
                mac: Some(MAC),
                solicited,
                overrides: true,
            };
            assert_eq!(parse(&answer), Parsed::Message(expected));
        }
    }

    /// What RFC 4861 §7.1 says to ignore.
    #[test]
    fn what_came_from_elsewhere_or_is_nonsense_is_ignored() {
        let (from, target) = (address("fe80::1"), address("2001:db8::7"));
        let good = solicitation(from, solicited_node(target), target, MAC);
        let mut far = good.clone();
        far[7] = 254;
        assert_eq!(parse(&far), Parsed::Invalid);
        let mut broken = good.clone();
        broken[60] ^= 1;
        assert_eq!(parse(&broken), Parsed::Invalid);
        let group = solicitation(from, from, address("ff02::7"), MAC);
        assert_eq!(parse(&group), Parsed::Invalid);
        // No source may not tell its link-layer address.
        let nobody = solicitation(Ipv6Addr::UNSPECIFIED, solicited_node(target), target, MAC);
        assert_eq!(parse(&nobody), Parsed::Invalid);
        let ip = Ip::new(Family::V6, Addr::v6(from), Addr::v6(target)).ttl(255);
        let endless = ip.icmp(
            SOLICITATION,
            0,
            0,
            &[&target.octets()[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(),
        );
        assert_eq!(parse(&endless), Parsed::Invalid);
        let short = ip.icmp(SOLICITATION, 0, 0, &target.octets()[..15]);
        assert_eq!(parse(&short), Parsed::Invalid);
        assert_eq!(parse(&ip.icmp(128, 0, 0, &[0; 20])), Parsed::Other);
        let all: Vec<u8> = good;
        for length in 0..all.len() {
            assert!(!matches!(parse(&all[..length]), Parsed::Message(_)));
        }
    }
}
