//! Bytes as a packet, a line of packet text, a capture file, a queue's message, and as choices for the builders.

use std::time::Duration;

use fielato_netfilter::queue::protocol::{Reply, Request};
use fielato_wire::build::{fragments, reassemble};
use fielato_wire::text::{Body, Line};
use fielato_wire::{Addr, Extensions, Family, Headers, Malformed, checksum, number, pcap};

use crate::source::Source;
use crate::{packets, sums};

/// Whatever the bytes are, reading them is safe and what is read is within them; what is built reads back.
pub fn packet(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        0 => headers(rest),
        1 => text(rest),
        2 => capture(rest),
        3 => built(rest),
        4 => checksums(rest),
        _ => messages(rest),
    }
}

fn headers(bytes: &[u8]) {
    let parsed = Headers::parse(bytes);
    if let Ok(received) = Headers::receive(bytes) {
        assert_eq!(parsed, Ok(received), "a receiver reads the same headers");
    }
    let Ok(headers) = parsed else {
        return;
    };
    let len = usize::from(headers.len);
    assert!(
        len <= bytes.len() && headers.ip_header_len() <= len,
        "{headers:?} of {}",
        bytes.len()
    );
    let transport = headers.transport(bytes);
    assert_eq!(transport.len(), len - headers.ip_header_len());
    assert_eq!(
        headers.src.and(Addr::mask(headers.family, headers.family.bits())),
        headers.src
    );
    if headers.is_later_fragment() {
        assert_eq!((headers.sport, headers.dport, headers.l4_whole), (0, 0, false));
    }
    if (headers.sport, headers.dport) != (0, 0) {
        let ports = [headers.sport.to_be_bytes(), headers.dport.to_be_bytes()].concat();
        assert_eq!(transport.get(..4), Some(&ports[..]));
    }
    // Without the padding it says the same.
    assert_eq!(Headers::parse(&bytes[..len]), Ok(headers));
    read_and_write(bytes);
    for mtu in [28, 68, 576] {
        if let Ok(pieces) = fragments(bytes, mtu, 7) {
            assert!(pieces.iter().all(|piece| piece.len() <= mtu && Headers::parse(piece).is_ok()));
        }
    }
}

/// A packet's line is read back as the same line, and makes a packet again when it can: the same one, if there are words for all
/// of it.
fn read_and_write(bytes: &[u8]) {
    let Ok((line, payload)) = Line::read(bytes) else {
        return;
    };
    let written = line.to_string();
    let again = written.parse::<Line>();
    if let Ok(again) = again {
        assert_eq!(again.to_string(), written);
    }
    let built = line.build(payload);
    if let Ok(packet) = &built {
        assert!(Headers::parse(packet).is_ok(), "{written}");
    }
    let len = Headers::parse(bytes).map_or(0, |headers| usize::from(headers.len));
    if is_said_whole(&bytes[..len]) {
        assert_eq!(written.parse(), Ok(line), "{written}");
        assert_eq!(built.as_deref(), Ok(&bytes[..len]), "{written}");
    }
}

/// Whether the grammar of lines has words for all of a packet: no header without words, checksums that are right, and zeros where
/// it has none.
fn is_said_whole(packet: &[u8]) -> bool {
    let Ok(headers) = Headers::receive(packet) else {
        return false;
    };
    let transport = headers.transport(packet);
    let zero = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    let unsaid = match headers.family {
        Family::V4 => packet[6] & 0x80 != 0,
        // The flow label.
        Family::V6 => packet[1] & 0x0f != 0 || packet[2] != 0 || packet[3] != 0,
    };
    if unsaid || headers.is_fragment() || headers.ip_header_len() != headers.family.header_len() || sums::verify(packet).is_err()
    {
        return false;
    }
    if !headers.l4_whole {
        return !matches!(headers.protocol, 1 | 6 | 17 | 33 | 58 | 132 | 136);
    }
    match headers.protocol {
        number::TCP => {
            let header = usize::from(transport[12] >> 4) * 4;
            // Reserved bits, the urgent pointer, more padding than needed.
            let padded = header > 20 && zero(transport.get(header - 4..header));
            transport[12] & 15 == 0 && zero(transport.get(18..20)) && (20..=transport.len()).contains(&header) && !padded
        }
        number::UDP => transport[4..6] == (transport.len() as u16).to_be_bytes() && !zero(transport.get(6..8)),
        number::UDPLITE => zero(transport.get(4..6)),
        number::SCTP => zero(transport.get(4..8)),
        number::ICMP if headers.family == Family::V4 => matches!(transport[0], 0 | 8),
        number::ICMPV6 if headers.family == Family::V6 => matches!(transport[0], 128 | 129),
        number::ICMP | number::ICMPV6 | number::DCCP => false,
        _ => true,
    }
}

fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(line) = text.parse::<Line>() else {
        return;
    };
    let written = line.to_string();
    match written.parse::<Line>() {
        Ok(again) => {
            assert_eq!(again.to_string(), written, "{text}");
            if !is_padded(&line) {
                assert_eq!(again.build(b"payload"), line.build(b"payload"), "{written}");
            }
        }
        Err(error) => panic!("{text:?} was written as {written:?}, which is refused: {error}"),
    }
    if let Ok(packet) = line.build(b"payload") {
        headers(&packet);
    }
}

/// Whether TCP options end with zeros, which lines don't say.
fn is_padded(line: &Line) -> bool {
    match &line.body {
        Body::Tcp(tcp) => tcp.options.ends_with(&[0]),
        Body::Icmp { quoted, .. } => quoted.as_ref().is_some_and(|line| is_padded(line)),
        _ => false,
    }
}

fn capture(bytes: &[u8]) {
    let _ = pcap::within_ethernet(bytes);
    let Ok(captured) = pcap::read(bytes) else {
        return;
    };
    let mut file = pcap::header();
    for one in &captured {
        file.extend(pcap::record(one.at, &one.packet));
    }
    // Longer packets than any IP packet are cut, and times far off wrap.
    let fits = |one: &pcap::Captured| one.packet.len() <= usize::from(u16::MAX) && one.at < Duration::from_secs(u32::MAX.into());
    if captured.iter().all(fits) {
        assert_eq!(pcap::read(&file), Ok(captured));
    }
}

fn built(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let family = if source.flag() { Family::V6 } else { Family::V4 };
    let ip = packets::ip(&mut source, family);
    let packet = packets::transport(&mut source, &ip);
    let headers = match Headers::receive(&packet) {
        Ok(headers) => headers,
        // Any bytes under the number of hop-by-hop options need not be such.
        Err(Malformed::HeaderLength) if family == Family::V6 && packet[6] == number::HOP_BY_HOP => return,
        Err(malformed) => panic!("{packet:02x?}: {malformed:?}"),
    };
    assert_eq!((headers.src, headers.dst), (ip.src, ip.dst));
    assert_eq!((headers.ttl, headers.tos), (ip.ttl, ip.tos));
    assert_eq!(usize::from(headers.len), packet.len());
    read_and_write(&packet);
    let mtu = 68 + usize::from(source.byte());
    if let Ok(mut pieces) = fragments(&packet, mtu, 9)
        && pieces.len() > 1
        && !headers.is_fragment()
        && headers.extensions.0 & Extensions::FRAGMENT == 0
    {
        pieces.rotate_left(1);
        // IPv4 options that later fragments lack, and IPv6 headers, are the first one's.
        assert_eq!(reassemble(&pieces).as_deref(), Some(&packet[..]), "cut to {mtu}");
    }
    // Some are only bytes under the number of a protocol.
    if sums::verify(&packet).is_err() {
        return;
    }
    let error = ip.reply().icmp_error(if family == Family::V4 { 3 } else { 1 }, 1, 0, &packet);
    sums::verify(&error).unwrap_or_else(|what| panic!("{what} in an error about {packet:02x?}"));
}

/// Sums of any length are those taken word by word, and a change under a checksum gives what summing anew gives.
fn checksums(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let (at, word) = (source.byte(), source.word());
    let mut bytes = source.rest().to_vec();
    let naive: u64 = bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0)))
        .sum();
    assert_eq!(checksum::fold(checksum::sum(&bytes)), checksum::fold(naive));
    let before = checksum::checksum(&bytes);
    let at = usize::from(at) * 2;
    let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return;
    };
    let old = u16::from_be_bytes(std::mem::replace(place, word.to_be_bytes()));
    let after = checksum::checksum(&bytes);
    // Zero has two forms in this arithmetic.
    let same = |one: u16, two: u16| assert_eq!(one % 0xffff, two % 0xffff, "{old:04x} became {word:04x} in {bytes:02x?}");
    same(checksum::update16(before, old, word), after);
    same(checksum::update32(before, old.into(), word.into()), after);
    let address = |word: u16| Addr {
        hi: u64::from(word) << 48,
        lo: 0,
    };
    same(checksum::update_addr(before, address(old), address(word)), after);
}

/// What a queue's handler and the engine say to each other is written as it was read.
fn messages(bytes: &[u8]) {
    if let Ok(request) = Request::parse(bytes) {
        assert_eq!(Request::parse(&request.emit()), Ok(request));
    }
    if let Ok(reply) = Reply::parse(bytes) {
        assert_eq!(Reply::parse(&reply.emit()), Ok(reply));
    }
}
