//! Reading what tcpdump wrote (pcap-savefile(5)), and telling WireGuard's packets from others.

use anyhow::{Context, Result, bail};

/// pcap-linktype(7): Ethernet.
pub(super) const ETHERNET: u32 = 1;

/// A capture file.
#[derive(Debug)]
pub(super) struct Pcap {
    pub(super) link_type: u32,
    pub(super) packets: Vec<Vec<u8>>,
}

impl Pcap {
    /// A file of this machine's byte order with times in microseconds, as tcpdump writes it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let word = |at: usize| -> Option<u32> { Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        if word(0) != Some(0xa1b2_c3d4) {
            bail!("not a pcap file");
        }
        let link_type = word(20).context("the file ends in its header")?;
        let mut packets = Vec::new();
        let mut at = 24;
        while at < bytes.len() {
            let length = word(at + 8).context("the file ends in a packet's header")? as usize;
            let packet = bytes.get(at + 16..at + 16 + length).context("the file ends in a packet")?;
            packets.push(packet.to_vec());
            at += 16 + length;
        }
        Ok(Self { link_type, packets })
    }

    /// How many packets hold these bytes.
    pub(super) fn holding(&self, needle: &[u8]) -> usize {
        self.packets
            .iter()
            .filter(|packet| packet.windows(needle.len()).any(|window| window == needle))
            .count()
    }
}

/// What an Ethernet frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// UDP from or to the hub's port.
    WireGuard,
    /// How neighbours find each other: ARP, and ICMPv6 for neighbours and multicast listeners.
    Neighbours,
    /// Anything else, described.
    Other(String),
}

/// What a frame carries, where WireGuard is UDP with `port` on one side.
pub(super) fn classify(frame: &[u8], port: u16) -> Frame {
    let short = || Frame::Other(format!("a frame of {} bytes", frame.len()));
    let Some(ethertype) = frame.get(12..14) else { return short() };
    let (protocol, payload) = match ethertype {
        [0x08, 0x06] => return Frame::Neighbours,
        [0x08, 0x00] => match frame.get(14..34) {
            Some(header) => (header[9], 14 + usize::from(header[0] & 0xf) * 4),
            None => return short(),
        },
        [0x86, 0xdd] => match frame.get(14..54) {
            // RFC 2710: reports of multicast listeners come behind a hop-by-hop header of 8 bytes.
            Some(header) if header[6] == 0 => (frame.get(54).copied().unwrap_or(59), 62),
            Some(header) => (header[6], 54),
            None => return short(),
        },
        other => return Frame::Other(format!("ethertype {other:02x?}")),
    };
    let Some(start) = frame.get(payload..payload + 4) else {
        return short();
    };
    match protocol {
        17 => {
            let ports = [
                u16::from_be_bytes([start[0], start[1]]),
                u16::from_be_bytes([start[2], start[3]]),
            ];
            if ports.contains(&port) {
                Frame::WireGuard
            } else {
                Frame::Other(format!("UDP {} → {}", ports[0], ports[1]))
            }
        }
        // RFC 2710, RFC 3810: 130 to 132 and 143; RFC 4861: 133 to 137.
        58 if matches!(start[0], 130..=137 | 143) => Frame::Neighbours,
        58 => Frame::Other(format!("ICMPv6 type {}", start[0])),
        protocol => Frame::Other(format!("IP protocol {protocol}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet.extend(payload);
        ethernet(0x0800, &packet)
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        packet.extend(payload);
        ethernet(0x86dd, &packet)
    }

    #[test]
    fn frames() {
        let to_hub = [0x12, 0x34, 0xca, 0x6c, 0, 8, 0, 0];
        let dns = [0x12, 0x34, 0, 53, 0, 8, 0, 0];
        assert_eq!(classify(&ipv4(17, &to_hub), 51820), Frame::WireGuard);
        assert_eq!(classify(&ipv6(17, &to_hub), 51820), Frame::WireGuard);
        assert_eq!(classify(&ipv4(17, &dns), 51820), Frame::Other("UDP 4660 → 53".into()));
        assert_eq!(classify(&ipv6(17, &dns), 51820), Frame::Other("UDP 4660 → 53".into()));
        assert_eq!(classify(&ipv4(6, &to_hub), 51820), Frame::Other("IP protocol 6".into()));
        assert_eq!(classify(&ipv6(58, &[135, 0, 0, 0]), 51820), Frame::Neighbours);
        assert_eq!(
            classify(&ipv6(58, &[128, 0, 0, 0]), 51820),
            Frame::Other("ICMPv6 type 128".into())
        );
        assert_eq!(
            classify(&ipv6(0, &[58, 0, 5, 2, 0, 0, 0, 0, 143, 0, 0, 0]), 51820),
            Frame::Neighbours
        );
        assert_eq!(classify(&ethernet(0x0806, &[0; 28]), 51820), Frame::Neighbours);
        assert!(matches!(classify(&[0; 5], 51820), Frame::Other(_)));
        assert!(matches!(classify(&ipv4(17, &[]), 51820), Frame::Other(_)));
    }

    #[test]
    fn files() {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, ETHERNET, 0, 0, 3, 3] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(b"abc");
        let pcap = Pcap::parse(&bytes).unwrap();
        assert_eq!(
            (pcap.link_type, pcap.packets.as_slice()),
            (ETHERNET, [b"abc".to_vec()].as_slice())
        );
        assert_eq!(pcap.holding(b"bc"), 1);
        assert_eq!(pcap.holding(b"bd"), 0);
        assert!(Pcap::parse(&bytes[..42]).is_err());
        assert!(Pcap::parse(b"nothing").is_err());
    }
}
