//! A connection with a clock, to play packets to.

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::{Addr, Family, Headers, number};

use super::{ProtoPacket, ProtoVerdict, is_sound, packet};
use crate::conntrack::{Config, Conn, CtState, Direction, Status, Tuple};
use crate::{Hook, Now};

pub struct Track {
    pub conn: Conn,
    pub config: Config,
    pub now: Now,
    pub hook: Hook,
    protocol: u8,
    /// The connection began in what its caller calls the reply direction.
    turned: bool,
}

impl Track {
    pub fn new(family: Family, protocol: u8) -> Track {
        let (src, dst) = Track::addresses(family, Direction::Original);
        let tuple = |src, dst| Tuple {
            src,
            dst,
            sport: 0,
            dport: 0,
            protocol,
            family,
        };
        Track {
            conn: Conn::new(tuple(src, dst), tuple(dst, src)),
            config: Config::default(),
            now: Now::from_secs(1_000),
            hook: Hook::Prerouting,
            protocol,
            turned: false,
        }
    }

    /// The direction in this connection of a packet that goes as `direction` of the first one.
    pub fn oriented(&mut self, direction: Direction) -> Direction {
        if !self.conn.status.has(Status::CONFIRMED) {
            self.turned = direction == Direction::Reply;
        }
        if self.turned { direction.reverse() } else { direction }
    }

    /// Forgets the connection; the next packet begins one, which goes as `direction` of this one.
    pub fn forget(&mut self, direction: Direction) {
        let [original, reply] = self.conn.tuples;
        self.conn = Conn::new(original, reply);
        self.turned ^= direction == Direction::Reply;
    }

    pub fn addresses(family: Family, direction: Direction) -> (Addr, Addr) {
        let (src, dst) = match family {
            Family::V4 => (Addr::from(Ipv4Addr::new(10, 0, 0, 1)), Addr::from(Ipv4Addr::new(10, 0, 0, 2))),
            Family::V6 => (
                Addr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
                Addr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
            ),
        };
        match direction {
            Direction::Original => (src, dst),
            Direction::Reply => (dst, src),
        }
    }

    fn headers(&self, direction: Direction, transport: &[u8]) -> Headers {
        let family = self.conn.tuples[0].family;
        let (src, dst) = Track::addresses(family, direction);
        let len = transport.len() as u16;
        let mut bytes = match family {
            Family::V4 => {
                let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, self.protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                bytes[2..4].copy_from_slice(&(len + 20).to_be_bytes());
                src.write(&mut bytes[12..16]);
                dst.write(&mut bytes[16..20]);
                bytes
            }
            Family::V6 => {
                let mut bytes = vec![0; 40];
                bytes[0] = 0x60;
                bytes[4..6].copy_from_slice(&len.to_be_bytes());
                bytes[6] = self.protocol;
                src.write(&mut bytes[8..24]);
                dst.write(&mut bytes[24..40]);
                bytes
            }
        };
        bytes.extend_from_slice(transport);
        Headers::parse(&bytes).expect("the packet is well made")
    }

    pub fn is_sound(&self, direction: Direction, transport: &[u8]) -> bool {
        let headers = self.headers(direction, transport);
        is_sound(headers.protocol, &self.view(&headers, direction, transport), &self.config).0
    }

    fn view<'a>(&self, headers: &'a Headers, direction: Direction, transport: &'a [u8]) -> ProtoPacket<'a> {
        let established = direction == Direction::Reply || self.conn.status.has(Status::SEEN_REPLY);
        ProtoPacket {
            headers,
            transport,
            vouched: false,
            hook: self.hook,
            state: if established { CtState::Established } else { CtState::New },
            direction,
        }
    }

    /// Plays a packet, and does what the core does around it: unsound packets are INVALID, the first accepted one confirms
    /// the connection, an accepted reply marks it (`nf_conntrack_in`).
    pub fn packet(&mut self, direction: Direction, transport: &[u8]) -> ProtoVerdict {
        let headers = self.headers(direction, transport);
        let view = self.view(&headers, direction, transport);
        if !is_sound(headers.protocol, &view, &self.config).0 {
            return ProtoVerdict::Invalid;
        }
        if matches!(self.protocol, number::ICMP | number::ICMPV6) && !self.conn.status.has(Status::CONFIRMED) {
            self.conn.tuples[0].dport = u16::from(headers.icmp_type) << 8 | u16::from(headers.icmp_code);
        }
        let fresh = !self.conn.status.has(Status::CONFIRMED);
        let verdict = packet(headers.protocol, &mut self.conn, &view, fresh, &self.config, self.now);
        // What is let through without being counted passes as well.
        let verdict = match verdict {
            ProtoVerdict::Ignore => ProtoVerdict::Accept,
            other => other,
        };
        if verdict == ProtoVerdict::Accept {
            self.conn.status.set(Status::CONFIRMED);
            if direction == Direction::Reply {
                self.conn.status.set(Status::SEEN_REPLY);
            }
        }
        verdict
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(seconds * Now::SECOND);
    }

    /// Seconds until it expires.
    pub fn left(&self) -> u64 {
        self.conn.deadline.saturating_sub(self.now.mono) / Now::SECOND
    }
}
