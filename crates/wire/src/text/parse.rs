//! A line read.

use std::iter::Peekable;
use std::net::IpAddr;
use std::str::{FromStr, SplitWhitespace};

use super::print::FLAGS;
use super::{Body, Line, default_window, is_echo, options};
use crate::build::Tcp;
use crate::number;

/// Why words make no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The line ends too early.
    #[error("{0} is missing at the end")]
    Missing(&'static str),
    /// A number that is none, or too large.
    #[error("`{word}` is no {what}: give a number from 0 to {max}")]
    Number {
        /// What was to be read.
        what: &'static str,
        /// What stands there.
        word: String,
        /// The largest it may be.
        max: u64,
    },
    /// No address.
    #[error("`{0}` is no IPv4 or IPv6 address")]
    Address(String),
    /// A word out of place.
    #[error("`{0}` is not understood here")]
    Word(String),
    /// A word of this name with a wrong value.
    #[error("`{word}` is wrong: {expected}")]
    Value {
        /// What stands there.
        word: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Source and destination are not of one family.
    #[error("source and destination must both be IPv4 or both IPv6")]
    Families,
    /// The piece is not inside the payload.
    #[error("FRAG={offset},{length} lies outside the packet's payload, or its offset is no multiple of 8")]
    Fragment {
        /// Its offset.
        offset: u16,
        /// Its length.
        length: u16,
    },
    /// The length has no room for the header.
    #[error("a length of {length} has no room for the IP header of {header} bytes; 0 means as long as needed")]
    Length {
        /// What was said.
        length: u16,
        /// The least there is.
        header: usize,
    },
    /// Packets quoted in packets, more than [`MAX_QUOTES`] deep.
    #[error("packets are quoted more than {MAX_QUOTES} deep")]
    Depth,
}

/// How deep quoted packets may nest. An error about an error is never sent (RFC 1122 §3.2.2), so more is not needed.
const MAX_QUOTES: usize = 4;

impl FromStr for Line {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Line, TextError> {
        let mut words = Words {
            words: text.split_whitespace().peekable(),
            depth: 0,
        };
        let line = words.line()?;
        match words.words.next() {
            Some(word) => Err(TextError::Word(word.to_owned())),
            None => Ok(line),
        }
    }
}

struct Words<'a> {
    words: Peekable<SplitWhitespace<'a>>,
    depth: usize,
}

/// A decimal number, or a hexadecimal one after `0x`.
fn number<T: TryFrom<u64>>(what: &'static str, word: &str, max: u64) -> Result<T, TextError> {
    let value = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    value
        .ok()
        .filter(|value| *value <= max)
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| TextError::Number {
            what,
            word: word.to_owned(),
            max,
        })
}

fn byte(what: &'static str, word: &str) -> Result<u8, TextError> {
    number(what, word, u8::MAX.into())
}

fn short(what: &'static str, word: &str) -> Result<u16, TextError> {
    number(what, word, u16::MAX.into())
}

fn long(what: &'static str, word: &str) -> Result<u32, TextError> {
    number(what, word, u32::MAX.into())
}

fn address(word: &str) -> Result<IpAddr, TextError> {
    word.parse().map_err(|_| TextError::Address(word.to_owned()))
}

impl<'a> Words<'a> {
    fn next(&mut self, what: &'static str) -> Result<&'a str, TextError> {
        self.words.next().ok_or(TextError::Missing(what))
    }

    fn short(&mut self, what: &'static str) -> Result<u16, TextError> {
        self.next(what).and_then(|word| short(what, word))
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, TextError> {
        self.next(what).and_then(|word| byte(what, word))
    }

    /// The next word, if it is this one.
    fn take(&mut self, word: &str) -> bool {
        self.words.next_if_eq(&word).is_some()
    }

    /// The value of the next word, if it is `NAME=value`.
    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.words.peek()?.strip_prefix(name)?.strip_prefix('=')?;
        self.words.next();
        Some(value)
    }

    fn line(&mut self) -> Result<Line, TextError> {
        let nowhere = IpAddr::from([0; 4]);
        let mut line = Line::new(nowhere, nowhere, 0);
        self.leading(&mut line)?;
        line.src = address(self.next("the source address")?)?;
        line.dst = address(self.next("the destination address")?)?;
        if line.src.is_ipv4() != line.dst.is_ipv4() {
            return Err(TextError::Families);
        }
        line.length = self.short("length")?;
        line.protocol = self.byte("protocol")?;
        line.body = self.body(&line)?;
        line.data = self.take("DATA");
        Ok(line)
    }

    /// The words before the addresses, in any order.
    fn leading(&mut self, line: &mut Line) -> Result<(), TextError> {
        loop {
            if self.take("MF") {
                line.more_fragments = true;
            } else if self.take("DF") {
                line.dont_fragment = true;
            } else if self.take("BADSUM") {
                line.bad_sum = true;
            } else if self.take("BADIPSUM") {
                line.bad_ip_sum = true;
            } else if let Some(value) = self.value("FRAG") {
                let (offset, length) = value.split_once(',').ok_or_else(|| TextError::Value {
                    word: format!("FRAG={value}"),
                    expected: "give FRAG=offset,length",
                })?;
                line.fragment = Some((short("offset", offset)?, short("length", length)?));
            } else if let Some(value) = self.value("MAC") {
                line.mac = Some(mac(value)?);
            } else if let Some(value) = self.value("TOS") {
                line.tos = byte("TOS", value)?;
            } else if let Some(value) = self.value("TTL") {
                line.ttl = byte("TTL", value)?;
            } else if let Some(value) = self.value("ID") {
                line.id = long("ID", value)?;
            } else {
                return Ok(());
            }
        }
    }

    fn body(&mut self, line: &Line) -> Result<Body, TextError> {
        let later = line.fragment.is_some_and(|(offset, _)| offset > 0);
        let ends = self.words.peek().is_none_or(|word| matches!(*word, "]" | "DATA"));
        if later && ends {
            return Ok(Body::None);
        }
        match line.protocol {
            number::UDP | number::UDPLITE | number::SCTP => Ok(Body::Ports {
                sport: self.short("source port")?,
                dport: self.short("destination port")?,
            }),
            number::DCCP => Ok(Body::Dccp {
                sport: self.short("source port")?,
                dport: self.short("destination port")?,
                kind: self.next("DCCP type").and_then(|word| number("DCCP type", word, 15))?,
            }),
            number::ICMP | number::ICMPV6 => self.icmp(line.protocol),
            number::TCP => self.tcp(),
            _ => Ok(Body::None),
        }
    }

    fn icmp(&mut self, protocol: u8) -> Result<Body, TextError> {
        let (kind, code) = (self.byte("ICMP type")?, self.byte("ICMP code")?);
        let echo = match is_echo(protocol, kind) {
            true => Some((self.short("ICMP id")?, self.short("ICMP sequence number")?)),
            false => None,
        };
        let mut quoted = None;
        if self.take("[") {
            self.depth += 1;
            if self.depth > MAX_QUOTES {
                return Err(TextError::Depth);
            }
            quoted = Some(Box::new(self.line()?));
            self.depth -= 1;
            if !self.take("]") {
                return Err(TextError::Missing("`]` after the quoted packet"));
            }
        }
        Ok(Body::Icmp {
            kind,
            code,
            echo,
            quoted,
        })
    }

    fn tcp(&mut self) -> Result<Body, TextError> {
        let mut tcp = Tcp::new(self.short("source port")?, self.short("destination port")?);
        tcp.flags.0 = flags(self.next("TCP flags")?)?;
        tcp.window = default_window(tcp.flags);
        loop {
            if let Some(value) = self.value("OPT") {
                tcp.options = options::parse(value).ok_or_else(|| TextError::Value {
                    word: format!("OPT={value}"),
                    expected: "give options as mss:N wscale:N sackok ts:N:N nop eol NUMBER NUMBER:HEX, with commas between",
                })?;
            } else if let Some(value) = self.value("SYN") {
                tcp.seq = long("sequence number", value)?;
            } else if let Some(value) = self.value("ACK") {
                tcp.ack = long("acknowledgement number", value)?;
            } else if let Some(value) = self.value("WIN") {
                tcp.window = short("window", value)?;
            } else {
                return Ok(Body::Tcp(tcp));
            }
        }
    }
}

fn mac(text: &str) -> Result<[u8; 6], TextError> {
    let wrong = || TextError::Value {
        word: format!("MAC={text}"),
        expected: "give six bytes in hexadecimal, as in 02:00:00:00:00:01",
    };
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

fn flags(word: &str) -> Result<u8, TextError> {
    if word == "NONE" {
        return Ok(0);
    }
    word.split('/').try_fold(0, |bits, name| {
        let known = FLAGS.iter().find(|(known, _)| *known == name);
        known.map(|(_, bit)| bits | bit).ok_or_else(|| TextError::Value {
            word: word.to_owned(),
            expected: "give flags as SYN, SYN/ACK, ACK, RST, FIN, PSH, URG, ECE, CWR with `/` between, or NONE",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Headers;

    fn build(text: &str) -> Vec<u8> {
        text.parse::<Line>()
            .and_then(|line| line.build(&[]))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_howtos_example() {
        let packet = build("192.168.2.2 192.168.1.2 100 1 8 0 55 57");
        let headers = Headers::receive(&packet).unwrap();
        assert_eq!((packet.len(), headers.icmp_type, headers.protocol), (100, 8, 1));
        assert_eq!(packet[24..28], [0, 55, 0, 57]);
    }

    /// Each line is what its packet says again: text, packet, text.
    #[test]
    fn what_is_built_says_the_same() {
        for text in [
            "10.0.0.1 10.0.1.2 100 17 1 2",
            "TOS=16 TTL=1 ID=9 10.0.0.1 10.0.1.2 28 17 1 2",
            "2001:db8::1 2001:db8::2 100 17 1 65535",
            "TOS=46 TTL=1 2001:db8::1 2001:db8::2 48 17 1 2",
            "10.0.0.1 10.0.1.2 84 1 8 0 55 57",
            "10.0.0.1 10.0.1.2 84 1 13 0",
            "2001:db8::1 2001:db8::2 100 58 128 0 55 57",
            "10.0.1.1 10.0.0.1 56 1 3 1 [ 10.0.0.1 10.0.1.2 28 17 1 2 ]",
            "2001:db8::9 2001:db8::1 108 58 1 4 [ 2001:db8::1 2001:db8::2 60 6 1 2 SYN SYN=5 ]",
            "10.0.0.1 10.0.1.2 40 6 1025 80 SYN SYN=7",
            "10.0.0.1 10.0.1.2 60 6 1025 80 SYN/ACK OPT=mss:1460,nop,wscale:7,sackok SYN=7 ACK=8 WIN=100",
            "2001:db8::1 2001:db8::2 60 6 1025 80 RST/ACK SYN=4294967295 ACK=1",
            "10.0.0.1 10.0.1.2 50 6 1 2 NONE",
            "10.0.0.1 10.0.1.2 50 6 1 2 SYN/FIN/RST/PSH/ACK/URG/ECE/CWR",
            "10.0.0.1 10.0.1.2 40 132 7 8",
            "10.0.0.1 10.0.1.2 40 136 7 8",
            "2001:db8::1 2001:db8::2 90 33 7 8 3",
            "10.0.0.1 10.0.1.2 80 33 7 8 0",
            "10.0.0.1 10.0.1.2 44 47",
            "BADIPSUM 10.0.0.1 10.0.1.2 28 17 1 2",
            "BADSUM 10.0.0.1 10.0.1.2 40 6 1 2 SYN",
            "BADSUM 2001:db8::1 2001:db8::2 50 58 135 0",
            "FRAG=0,8 MF 10.0.0.1 10.0.1.2 28 17 1 2",
            "FRAG=16,24 MF ID=7 10.0.0.1 10.0.1.2 60 17",
            "FRAG=8,5 ID=70000 2001:db8::1 2001:db8::2 53 17",
            "DF 10.0.0.1 10.0.1.2 24 6 1 2 NONE WIN=0",
        ] {
            let packet = build(text);
            let (line, _) = Line::read(&packet).unwrap();
            assert_eq!(line.to_string(), text);
            assert_eq!(line.build(&[]).unwrap(), packet, "{text}");
        }
    }

    #[test]
    fn a_quote_may_be_cut() {
        let long = build("10.0.0.1 10.0.1.2 100 6 1 2 SYN SYN=5");
        let error = crate::build::Ip::v4([10, 0, 1, 1], [10, 0, 0, 1]).icmp(11, 0, 0, &long[..28]);
        let (line, _) = Line::read(&error).unwrap();
        let quoted = "10.0.0.1 10.0.1.2 100 6 1 2 NONE SYN=5 WIN=0";
        assert_eq!(line.to_string(), format!("10.0.1.1 10.0.0.1 56 1 11 0 [ {quoted} ]"));
    }

    #[test]
    fn data_is_the_payload() {
        for text in [
            "10.0.0.1 10.0.1.2 0 6 1 2 PSH/ACK DATA",
            "10.0.0.1 10.0.1.2 0 17 1 69 DATA",
            "2001:db8::1 2001:db8::2 0 6 1 2 PSH/ACK DATA",
        ] {
            let line: Line = text.parse().unwrap();
            assert!(line.data);
            let packet = line.build(b"USER anonymous").unwrap();
            let (read, payload) = Line::read(&packet).unwrap();
            assert_eq!((payload, usize::from(read.length)), (&b"USER anonymous"[..], packet.len()));
        }
        let line: Line = "10.0.0.1 10.0.1.2 33 17 1 2 DATA".parse().unwrap();
        assert_eq!(line.build(b"longer than that").unwrap()[28..], *b"longe");
    }

    #[test]
    fn pieces_are_those_of_the_packet() {
        let whole = build("10.0.0.1 10.0.1.2 100 17 1 2");
        let first = build("FRAG=0,48 MF 10.0.0.1 10.0.1.2 100 17 1 2");
        let second = build("FRAG=48,32 10.0.0.1 10.0.1.2 100 17 1 2");
        assert_eq!(crate::build::reassemble(&[second, first]), Some(whole));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        for (text, error) in [
            ("10.0.0.1", "the destination address is missing at the end"),
            (
                "10.0.0.1 ::1 0 17 1 2",
                "source and destination must both be IPv4 or both IPv6",
            ),
            ("10.0.0.1 10.0.0.x 0 17 1 2", "`10.0.0.x` is no IPv4 or IPv6 address"),
            (
                "10.0.0.1 10.0.0.2 0 17 1 65536",
                "`65536` is no destination port: give a number from 0 to 65535",
            ),
            ("10.0.0.1 10.0.0.2 0 17 1", "destination port is missing at the end"),
            ("10.0.0.1 10.0.0.2 0 17 1 2 3", "`3` is not understood here"),
            ("10.0.0.1 10.0.0.2 0 1 8 0", "ICMP id is missing at the end"),
            (
                "10.0.0.1 10.0.0.2 0 1 3 0 [ 10.0.0.2 10.0.0.1 0 17 1 2",
                "`]` after the quoted packet is missing at the end",
            ),
        ] {
            assert_eq!(text.parse::<Line>().map_err(|error| error.to_string()), Err(error.to_owned()));
        }
        for text in [
            "FRAG=8 10.0.0.1 10.0.0.2 0 47",
            "MAC=1:2 10.0.0.1 10.0.0.2 0 47",
            "10.0.0.1 10.0.0.2 0 6 1 2 SIN",
        ] {
            assert!(matches!(text.parse::<Line>(), Err(TextError::Value { .. })), "{text}");
        }
        let deep = "10.0.0.1 10.0.0.2 0 1 3 0 [ ".repeat(1000);
        assert_eq!(deep.parse::<Line>(), Err(TextError::Depth));
        let built = |text: &str| text.parse::<Line>().and_then(|line| line.build(&[]));
        let outside = TextError::Fragment { offset: 96, length: 8 };
        assert_eq!(built("FRAG=96,8 10.0.0.1 10.0.0.2 100 47"), Err(outside));
        assert_eq!(
            built("10.0.0.1 10.0.0.2 19 47"),
            Err(TextError::Length { length: 19, header: 20 })
        );
    }

    /// Bytes at random never panic, and what they say can be parsed again.
    #[test]
    fn any_packet_has_a_line() {
        let mut state = 1u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        let protocols = [1, 6, 17, 33, 47, 58, 132, 136, 0, 43, 44, 51, 60];
        let mut read = 0;
        for round in 0..20_000usize {
            let mut packet: Vec<u8> = (0..round % 150).map(|_| random()).collect();
            if packet.len() > 40 {
                let len = packet.len();
                let protocol = protocols[usize::from(random()) % protocols.len()];
                if round % 2 == 0 {
                    packet[0] = 0x45;
                    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                    packet[9] = protocol;
                } else {
                    packet[0] = 0x60;
                    packet[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
                    packet[6] = protocol;
                }
            }
            if let Ok((line, _)) = Line::read(&packet) {
                read += 1;
                let text = line.to_string();
                assert_eq!(text.parse::<Line>().as_ref(), Ok(&line), "{text}");
            }
        }
        assert!(read > 10_000, "{read}");
    }
}
