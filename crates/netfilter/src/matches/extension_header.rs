//! The walk over IPv6 extension headers to one of them (`ipv6_find_hdr` in `net/ipv6/exthdrs_core.c`).

use fielato_wire::number;

/// Why a header was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is none.
    Absent,
    /// The chain of headers ends beyond the packet.
    Truncated,
}

/// Where the first header of kind `wanted` begins in an IPv6 packet. Its length may reach beyond the packet.
pub(super) fn find(packet: &[u8], wanted: u8) -> Result<usize, Missing> {
    let mut next = *packet.get(6).ok_or(Missing::Truncated)?;
    let mut at = 40;
    loop {
        let found = next == wanted;
        if !is_extension(next) || next == number::NO_NEXT {
            return if found { Ok(at) } else { Err(Missing::Absent) };
        }
        let header = packet.get(at..at + 2).ok_or(Missing::Truncated)?;
        let length = match next {
            number::FRAGMENT => {
                let offset = packet.get(at + 2..at + 4).ok_or(Missing::Truncated)?;
                let later = u16::from_be_bytes([offset[0], offset[1]]) & !7 != 0;
                if later && !found {
                    return Err(Missing::Absent);
                }
                8
            }
            number::AH => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if found {
            return Ok(at);
        }
        next = header[0];
        at += length;
    }
}

/// Whether a header of this kind is an extension header (`ipv6_ext_hdr`).
pub(super) const fn is_extension(kind: u8) -> bool {
    matches!(
        kind,
        number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::AH | number::NO_NEXT | number::DESTINATION
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn walks_to_the_header() {
        let chain = [number::ROUTING, 0, 1, 4, 0, 0, 0, 0, number::UDP, 0, 0, 0, 0, 0, 0, 0];
        let packet = testkit::v6(number::HOP_BY_HOP, &chain).data;
        assert_eq!(find(&packet, number::HOP_BY_HOP), Ok(40));
        assert_eq!(find(&packet, number::ROUTING), Ok(48));
        assert_eq!(find(&packet, number::AH), Err(Missing::Absent));
        assert_eq!(find(&packet[..49], number::ROUTING), Err(Missing::Truncated));
        assert_eq!(find(&[], number::ROUTING), Err(Missing::Truncated));
    }

    #[test]
    fn stops_at_a_later_fragment() {
        let packet = testkit::v6_fragment(number::DESTINATION, 8, false, &[number::UDP, 0, 0, 0, 0, 0, 0, 0]).data;
        assert_eq!(find(&packet, number::FRAGMENT), Ok(40));
        assert_eq!(find(&packet, number::DESTINATION), Err(Missing::Absent));
    }
}
