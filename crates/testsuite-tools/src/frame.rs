//! How packets follow each other on a tap's byte stream.
//!
//! An IP packet stands as it is, delimited by its own length. Two other things are told apart by their first byte: an Ethernet
//! header before a packet (from `MAC=`) starts with 0x02, a fence with 0xff.

use std::io::{self, Read, Write};

/// Longest packet: what an IPv6 header can say.
pub const MAX: usize = 40 + 65_535;

const ETHERNET: u8 = 0x02;
const FENCE: u8 = 0xff;
/// Where frames from a tap go: a locally administered address.
const HOST: [u8; 6] = [ETHERNET, 0, 0, 0, 0, 0];

/// One thing on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A packet, with the Ethernet source it has on a network that has such.
    Packet {
        /// Ethernet source.
        mac: Option<[u8; 6]>,
        /// From the IP header on.
        packet: Vec<u8>,
    },
    /// All that was written before it has been judged. To tapd: a bit for each tap that shall repeat it.
    Fence(u8),
}

/// Writes a frame in one go.
pub fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    to.write_all(&emit(frame))?;
    to.flush()
}

/// The bytes of a frame.
pub fn emit(frame: &Frame) -> Vec<u8> {
    match frame {
        Frame::Packet { mac: None, packet } => packet.clone(),
        Frame::Packet { mac: Some(mac), packet } => {
            let kind = match packet.first().map(|byte| byte >> 4) {
                Some(6) => [0x86, 0xdd],
                _ => [0x08, 0x00],
            };
            [&HOST[..], mac, &kind, packet].concat()
        }
        Frame::Fence(taps) => vec![FENCE, *taps],
    }
}

/// Reads exactly one frame, so that what follows stays for whoever reads next. `None` at the end of the stream.
pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut first = [0];
    if from.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut mac = None;
    match first[0] {
        FENCE => {
            from.read_exact(&mut first)?;
            return Ok(Some(Frame::Fence(first[0])));
        }
        ETHERNET => {
            let mut header = [0; 13];
            from.read_exact(&mut header)?;
            mac = header[5..].first_chunk().copied();
            from.read_exact(&mut first)?;
        }
        _ => {}
    }
    let mut packet = first.to_vec();
    let mut more = |packet: &mut Vec<u8>, to: usize| {
        let at = packet.len();
        packet.resize(to.max(at), 0);
        from.read_exact(&mut packet[at..])
    };
    more(&mut packet, 6)?;
    let be16 = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let len = match first[0] >> 4 {
        4 => be16(2),
        6 => be16(4) + 40,
        version => {
            let text = format!("a packet of IP version {version} on the tap; only 4 and 6 can be told apart from each other");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    };
    more(&mut packet, len)?;
    Ok(Some(Frame::Packet { mac, packet }))
}

/// Takes whole frames from the front of `bytes`; what is left is the begin of another.
pub fn take(bytes: &mut Vec<u8>) -> io::Result<Vec<Frame>> {
    let mut all = Vec::new();
    let mut rest = &bytes[..];
    loop {
        let mut after = rest;
        match read(&mut after) {
            Ok(Some(frame)) => all.push(frame),
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        rest = after;
    }
    *bytes = rest.to_vec();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fielato_wire::build::Ip;

    #[test]
    fn frames_follow_each_other() {
        let packet = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(1, 2, b"abc");
        let six = Ip::v6([1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 2]).udp(1, 2, b"");
        let mac = Some([2, 3, 4, 5, 6, 7]);
        let frames = [
            Frame::Packet { mac: None, packet },
            Frame::Fence(3),
            Frame::Packet {
                mac,
                packet: six.clone(),
            },
            Frame::Packet { mac: None, packet: six },
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(emit).collect();
        let mut from = &bytes[..];
        for frame in &frames {
            assert_eq!(read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(read(&mut from).unwrap(), None);

        // In pieces of any size, the same.
        let mut pending = Vec::new();
        let mut taken = Vec::new();
        for byte in &bytes {
            pending.push(*byte);
            taken.extend(take(&mut pending).unwrap());
        }
        assert_eq!(taken, frames);
        assert!(pending.is_empty());
        assert!(take(&mut vec![0x55; 10]).is_err());
    }
}
