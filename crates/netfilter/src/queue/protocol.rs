//! Queued packets and verdicts as messages, for handlers in another process.
//!
//! They travel over a Unix socket of type SOCK_SEQPACKET, one message each, numbers in network byte order:
//!
//! | from | message | bytes |
//! |---|---|---|
//! | handler | BIND | `1`, 1 unused, queue (2), longest queue (4; 0: 1,024), bytes of each packet to send (4; 0: all) |
//! | engine | BOUND | `2`, 1 unused, queue (2) |
//! | engine | ERROR | `3`, 1 unused, queue (2), why (UTF-8) |
//! | engine | PACKET | `4`, hook (0 to 4), queue (2), mark (4), id (8), length of the whole packet (4), way in (16), way out (16), packet |
//! | handler | VERDICT | `5`, verdict, queue (2), mark (4), id (8), flags (1), 1 unused, other queue (2), packet |
//!
//! Interface names are padded with zeros. Verdicts are the kernel's: 0 drop, 1 accept, 3 to the other queue, 4 repeat. Flags: 1, the mark
//! is to be set; 2, the packet's bytes are to be replaced. A handler may bind several queues on one socket; when
//! it closes the socket its queues close, and what waits there is dropped.

use super::{QueueAnswer, QueueVerdict, Queued};
use crate::{Hook, InterfaceName};

/// Longest message: a packet of 65,535 bytes with its head.
pub const MAX_MESSAGE: usize = 66_000;

const BIND: u8 = 1;
const BOUND: u8 = 2;
const ERROR: u8 = 3;
const PACKET: u8 = 4;
const VERDICT: u8 = 5;
const PACKET_HEAD: usize = 52;
const VERDICT_HEAD: usize = 20;
const SET_MARK: u8 = 1;
const SET_DATA: u8 = 2;

/// What a handler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// It will handle this queue.
    Bind {
        /// Queue number.
        queue: u16,
        /// Most packets that wait; 0 for the default.
        length: u32,
        /// Bytes of each packet to send; 0 for all.
        copy: u32,
    },
    /// It has decided.
    Verdict {
        /// Queue number.
        queue: u16,
        /// The packet's number.
        id: u64,
        /// What it decided.
        answer: QueueAnswer,
    },
}

/// What the engine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The queue is the handler's.
    Bound {
        /// Queue number.
        queue: u16,
    },
    /// It is not.
    Error {
        /// Queue number.
        queue: u16,
        /// Why.
        message: String,
    },
    /// A packet waits.
    Packet(QueuedPacket),
}

/// A waiting packet as a handler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedPacket {
    /// Queue number.
    pub queue: u16,
    /// Its number, to be given back.
    pub id: u64,
    /// Where it waits.
    pub hook: Hook,
    /// Its mark.
    pub mark: u32,
    /// Its whole length, in bytes.
    pub length: u32,
    /// Interface it came in by.
    pub in_interface: InterfaceName,
    /// Interface it goes out by.
    pub out_interface: InterfaceName,
    /// Its bytes, or as many as were asked for.
    pub data: Vec<u8>,
}

impl QueuedPacket {
    /// The message about a waiting packet, with at most `copy` of its bytes (0: all).
    pub fn of(queue: u16, queued: &Queued, copy: u32) -> QueuedPacket {
        let packet = &queued.packet;
        let copied = match copy {
            0 => packet.data.len(),
            copy => packet.data.len().min(copy as usize),
        };
        QueuedPacket {
            queue,
            id: queued.id,
            hook: queued.hook,
            mark: packet.mark,
            length: packet.data.len() as u32,
            in_interface: packet.in_interface.name,
            out_interface: packet.out_interface.name,
            data: packet.data[..copied].to_vec(),
        }
    }
}

/// A message that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Shorter than its kind is.
    #[error("the message is cut short")]
    Short,
    /// An unknown kind.
    #[error("unknown kind of message {0}")]
    Kind(u8),
    /// An unknown verdict.
    #[error("unknown verdict {0}: 0 drops, 1 accepts, 3 queues elsewhere, 4 repeats")]
    Verdict(u8),
    /// A hook beyond 4.
    #[error("unknown hook {0}")]
    Hook(u8),
    /// Text that is not UTF-8.
    #[error("a name or text is not UTF-8")]
    Text,
}

impl Request {
    /// As bytes.
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Request::Bind { queue, length, copy } => {
                let mut bytes = vec![BIND, 0];
                bytes.extend(queue.to_be_bytes());
                bytes.extend(length.to_be_bytes());
                bytes.extend(copy.to_be_bytes());
                bytes
            }
            Request::Verdict { queue, id, answer } => {
                let QueueAnswer { verdict, mark, data } = answer;
                let (verdict, other) = match verdict {
                    QueueVerdict::Drop => (0, 0),
                    QueueVerdict::Accept => (1, 0),
                    QueueVerdict::Queue(other) => (3, *other),
                    QueueVerdict::Repeat => (4, 0),
                };
                let mut bytes = vec![VERDICT, verdict];
                bytes.extend(queue.to_be_bytes());
                bytes.extend(mark.unwrap_or(0).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                let set_mark = if mark.is_some() { SET_MARK } else { 0 };
                let set_data = if data.is_some() { SET_DATA } else { 0 };
                bytes.extend([set_mark | set_data, 0]);
                bytes.extend(other.to_be_bytes());
                bytes.extend(data.iter().flatten());
                bytes
            }
        }
    }

    /// From bytes.
    pub fn parse(bytes: &[u8]) -> Result<Request, BadMessage> {
        match bytes.first() {
            Some(&BIND) => Ok(Request::Bind {
                queue: u16::from_be_bytes(field(bytes, 2)?),
                length: u32::from_be_bytes(field(bytes, 4)?),
                copy: u32::from_be_bytes(field(bytes, 8)?),
            }),
            Some(&VERDICT) => {
                let [flags, _] = field(bytes, 16)?;
                let other = u16::from_be_bytes(field(bytes, 18)?);
                let verdict = match bytes[1] {
                    0 => QueueVerdict::Drop,
                    1 => QueueVerdict::Accept,
                    3 => QueueVerdict::Queue(other),
                    4 => QueueVerdict::Repeat,
                    unknown => return Err(BadMessage::Verdict(unknown)),
                };
                let mark = u32::from_be_bytes(field(bytes, 4)?);
                Ok(Request::Verdict {
                    queue: u16::from_be_bytes(field(bytes, 2)?),
                    id: u64::from_be_bytes(field(bytes, 8)?),
                    answer: QueueAnswer {
                        verdict,
                        mark: (flags & SET_MARK != 0).then_some(mark),
                        data: (flags & SET_DATA != 0).then(|| bytes[VERDICT_HEAD..].to_vec()),
                    },
                })
            }
            Some(&kind) => Err(BadMessage::Kind(kind)),
            None => Err(BadMessage::Short),
        }
    }
}

impl Reply {
    /// As bytes.
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Reply::Bound { queue } => {
                let mut bytes = vec![BOUND, 0];
                bytes.extend(queue.to_be_bytes());
                bytes
            }
            Reply::Error { queue, message } => {
                let mut bytes = vec![ERROR, 0];
                bytes.extend(queue.to_be_bytes());
                bytes.extend(message.as_bytes());
                bytes
            }
            Reply::Packet(packet) => {
                let mut bytes = vec![PACKET, packet.hook as u8];
                bytes.extend(packet.queue.to_be_bytes());
                bytes.extend(packet.mark.to_be_bytes());
                bytes.extend(packet.id.to_be_bytes());
                bytes.extend(packet.length.to_be_bytes());
                bytes.extend(packet.in_interface.bits().to_be_bytes());
                bytes.extend(packet.out_interface.bits().to_be_bytes());
                bytes.extend(&packet.data);
                bytes
            }
        }
    }

    /// From bytes.
    pub fn parse(bytes: &[u8]) -> Result<Reply, BadMessage> {
        match bytes.first() {
            Some(&BOUND) => Ok(Reply::Bound {
                queue: u16::from_be_bytes(field(bytes, 2)?),
            }),
            Some(&ERROR) => Ok(Reply::Error {
                queue: u16::from_be_bytes(field(bytes, 2)?),
                message: String::from_utf8(bytes[4..].to_vec()).map_err(|_| BadMessage::Text)?,
            }),
            Some(&PACKET) => Ok(Reply::Packet(QueuedPacket {
                queue: u16::from_be_bytes(field(bytes, 2)?),
                mark: u32::from_be_bytes(field(bytes, 4)?),
                id: u64::from_be_bytes(field(bytes, 8)?),
                length: u32::from_be_bytes(field(bytes, 16)?),
                in_interface: name(field(bytes, 20)?)?,
                out_interface: name(field(bytes, 36)?)?,
                hook: *Hook::ALL.get(usize::from(bytes[1])).ok_or(BadMessage::Hook(bytes[1]))?,
                data: bytes[PACKET_HEAD..].to_vec(),
            })),
            Some(&kind) => Err(BadMessage::Kind(kind)),
            None => Err(BadMessage::Short),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BadMessage> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(BadMessage::Short)
}

fn name(bytes: [u8; 16]) -> Result<InterfaceName, BadMessage> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(16);
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| BadMessage::Text)?;
    InterfaceName::new(text).ok_or(BadMessage::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        let verdict = |verdict, mark, data| Request::Verdict {
            queue: 7,
            id: 0x0102_0304_0506_0708,
            answer: QueueAnswer { verdict, mark, data },
        };
        vec![
            Request::Bind {
                queue: 65_535,
                length: 10,
                copy: 0,
            },
            verdict(QueueVerdict::Accept, None, None),
            verdict(QueueVerdict::Drop, Some(0), None),
            verdict(QueueVerdict::Repeat, Some(9), Some(vec![])),
            verdict(QueueVerdict::Queue(3), None, Some(vec![0x45, 1, 2])),
        ]
    }

    fn replies() -> Vec<Reply> {
        vec![
            Reply::Bound { queue: 1 },
            Reply::Error {
                queue: 2,
                message: "queue 2 has a handler already".into(),
            },
            Reply::Packet(QueuedPacket {
                queue: 3,
                id: u64::MAX,
                hook: Hook::Forward,
                mark: 0xdead_beef,
                length: 1500,
                in_interface: InterfaceName::new("wg0").unwrap(),
                out_interface: InterfaceName::NONE,
                data: vec![0x60, 0, 0],
            }),
        ]
    }

    #[test]
    fn reads_what_it_wrote() {
        for request in requests() {
            assert_eq!(Request::parse(&request.emit()), Ok(request));
        }
        for reply in replies() {
            assert_eq!(Reply::parse(&reply.emit()), Ok(reply));
        }
    }

    #[test]
    fn refuses_what_is_cut_short() {
        for request in requests() {
            let head = match request {
                Request::Bind { .. } => 12,
                Request::Verdict { .. } => VERDICT_HEAD,
            };
            let bytes = request.emit();
            for length in 0..head {
                assert_eq!(
                    Request::parse(&bytes[..length]),
                    Err(BadMessage::Short),
                    "{request:?} cut to {length}"
                );
            }
        }
        let packet = replies().pop().unwrap().emit();
        for length in 0..PACKET_HEAD {
            assert_eq!(Reply::parse(&packet[..length]), Err(BadMessage::Short), "cut to {length}");
        }
        assert_eq!(Request::parse(&[9, 0]), Err(BadMessage::Kind(9)));
        let mut verdict = requests()[1].emit();
        verdict[1] = 2;
        assert_eq!(Request::parse(&verdict), Err(BadMessage::Verdict(2)));
    }
}
