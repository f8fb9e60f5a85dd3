//! Bytes as a packet, a line of packet text, a capture file, and as choices for the builders.

use std::time::Duration;

use fielato_wire::build::{fragments, reassemble};
use fielato_wire::text::Line;
use fielato_wire::{Family, Headers, pcap};

use crate::source::Source;
use crate::{packets, sums};

/// Whatever the bytes are, reading them is safe and what is read is within them; what is built reads back.
pub fn packet(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => headers(rest),
        1 => text(rest),
        2 => capture(rest),
        _ => built(rest),
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
    assert_eq!(headers.transport(bytes).len(), len - headers.ip_header_len());
    // Without the padding it says the same.
    assert_eq!(Headers::parse(&bytes[..len]), Ok(headers));
    read_and_write(bytes);
    for mtu in [28, 68, 576] {
        if let Ok(pieces) = fragments(bytes, mtu, 7) {
            assert!(pieces.iter().all(|piece| piece.len() <= mtu && Headers::parse(piece).is_ok()));
        }
    }
}

/// A packet's line is read back as the same line, and makes a packet again when it can.
fn read_and_write(bytes: &[u8]) {
    let Ok((line, payload)) = Line::read(bytes) else {
        return;
    };
    let written = line.to_string();
    let again = written.parse::<Line>();
    if let Ok(again) = again {
        assert_eq!(again.to_string(), written);
    }
    if let Ok(packet) = line.build(payload) {
        assert!(Headers::parse(&packet).is_ok(), "{written}");
    }
}

fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(line) = text.parse::<Line>() else {
        return;
    };
    let written = line.to_string();
    match written.parse::<Line>() {
        Ok(again) => assert_eq!(again.to_string(), written, "{text}"),
        Err(error) => panic!("{text:?} was written as {written:?}, which is refused: {error}"),
    }
    if let Ok(packet) = line.build(b"payload") {
        headers(&packet);
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
