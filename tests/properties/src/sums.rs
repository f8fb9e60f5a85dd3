//! Checksums recomputed from the packet's bytes, independently of whoever updated them step by step.

use fielato_netfilter::Packet;
use fielato_wire::{Family, Headers, checksum, number};

/// What is wrong with the checksums of `packet`, of the packet it quotes too; nothing for a packet that is right.
///
/// A quoted packet is judged as far as it is there: its transport's checksum only when the quote is whole.
///
/// # Errors
/// The checksum that is wrong, in words.
pub fn verify(packet: &[u8]) -> Result<(), String> {
    let headers = Headers::receive(packet).map_err(|malformed| malformed.name().to_owned())?;
    if headers.is_fragment() {
        return Ok(());
    }
    let bytes = headers.transport(packet);
    transport(&headers, bytes)?;
    let quote = match (headers.protocol, bytes.first()) {
        (number::ICMP, Some(3 | 4 | 5 | 11 | 12)) | (number::ICMPV6, Some(..128)) => bytes.get(8..).unwrap_or_default(),
        _ => return Ok(()),
    };
    quoted(quote).map_err(|what| format!("quoted {what}"))
}

/// What the engine knows of a packet's headers is what its bytes say, and its checksums are right.
///
/// # Panics
/// When they are not.
pub fn assert_sound(packet: &Packet) {
    assert_eq!(Headers::parse(&packet.data), Ok(packet.headers), "{:02x?}", packet.data);
    if let Err(what) = verify(&packet.data) {
        panic!("{what}: {:02x?}", packet.data);
    }
}

fn transport(headers: &Headers, bytes: &[u8]) -> Result<(), String> {
    if !headers.l4_whole {
        return Ok(());
    }
    let pseudo = checksum::pseudo(headers.src, headers.dst, headers.protocol, bytes.len() as u32);
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    // How many bytes are summed, and under what.
    let (pseudo, covered) = match headers.protocol {
        number::TCP => (pseudo, bytes.len()),
        number::ICMPV6 if headers.family == Family::V6 => (pseudo, bytes.len()),
        number::ICMP if headers.family == Family::V4 => (0, bytes.len()),
        number::UDP if word(6) == 0 && headers.family == Family::V4 => return Ok(()),
        number::UDP => (pseudo, bytes.len()),
        number::UDPLITE => match usize::from(word(4)) {
            0 => (pseudo, bytes.len()),
            covered => (pseudo, covered.min(bytes.len())),
        },
        number::DCCP => {
            // RFC 4340 §9.2: coverage 0 is all, N is the header and (N - 1) words of payload.
            let header = usize::from(bytes[4]) * 4;
            match usize::from(bytes[5] & 15) {
                0 => (pseudo, bytes.len()),
                words => (pseudo, (header + (words - 1) * 4).min(bytes.len())),
            }
        }
        number::SCTP => {
            let crc = checksum::sctp(bytes).is_some_and(|right| right == bytes[8..12]);
            return if crc { Ok(()) } else { Err("SCTP checksum".to_owned()) };
        }
        _ => return Ok(()),
    };
    match checksum::fold(pseudo + checksum::sum(&bytes[..covered])) {
        0xffff => Ok(()),
        _ => Err(format!("checksum of protocol {}", headers.protocol)),
    }
}

/// A quote may be cut short, so its length field may say more than there is.
fn quoted(quote: &[u8]) -> Result<(), String> {
    if quote.first().is_none_or(|first| first >> 4 != 4) {
        return match Headers::parse(quote) {
            Ok(headers) if !headers.is_fragment() => transport(&headers, headers.transport(quote)),
            _ => Ok(()),
        };
    }
    let header = usize::from(quote[0] & 15) * 4;
    let Some(bytes) = quote.get(..header).filter(|_| header >= 20) else {
        return Ok(());
    };
    if checksum::checksum(bytes) != 0 {
        return Err("IPv4 header checksum".to_owned());
    }
    match Headers::parse(quote) {
        Ok(headers) if !headers.is_fragment() => transport(&headers, headers.transport(quote)),
        _ => Ok(()),
    }
}
