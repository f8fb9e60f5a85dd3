//! The words between the command and a running engine, over a stream: a line, and for rules their text after it.
//!
//! ```text
//! SAVE ipv4                      ok 17 1234        then 1234 bytes: the save file, with counters
//! RESTORE ipv4 17 1234           ok 18 0
//! …1234 bytes: a save file…      stale 18 0
//!                                error 0 25        then 25 bytes: the reason
//! ```
//!
//! The number after the family or the answer is the generation, the last one the length of what follows. A restore replaces
//! the tables that its text names, each as a whole, if nothing was changed since its generation. Comments in the text say
//! which counters go on counting ([`sources`]); those of the others are as the text has them.
//!
//! Both sides are here, without a socket: [`RemoteStore`] asks, [`serve`] answers from any [`crate::iptc::Store`].

mod client;
mod server;
pub mod sources;

pub use client::RemoteStore;
pub use server::serve;

use std::fmt::Write as _;

use fielato_wire::Family;

/// Longest text of one message.
pub const MAX_TEXT: usize = 256 << 20;

/// What the command asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The tables of a family.
    Save(Family),
    /// New contents for tables.
    Restore {
        /// Theirs.
        family: Family,
        /// The generation they were read at.
        generation: u64,
        /// The save file.
        text: String,
    },
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Done; the generation now, and for a save its text.
    Ok {
        /// The generation now.
        generation: u64,
        /// The save file.
        text: String,
    },
    /// Another writer was faster.
    Stale {
        /// The generation now.
        generation: u64,
    },
    /// It can't be done.
    Error(String),
}

/// Words that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line that is none of the protocol's.
    #[error("`{0}` is not a line of the rule protocol")]
    Line(String),
    /// A text beyond [`MAX_TEXT`].
    #[error("a text of {0} bytes is too long, at most {MAX_TEXT}")]
    TooLong(usize),
    /// Text that isn't UTF-8.
    #[error("the text is not UTF-8")]
    Encoding,
}

impl Request {
    /// The bytes to send.
    pub fn encode(&self) -> String {
        match self {
            Request::Save(family) => format!("SAVE {}\n", family_name(*family)),
            Request::Restore {
                family,
                generation,
                text,
            } => message(format_args!("RESTORE {} {generation}", family_name(*family)), text),
        }
    }

    /// A request at the beginning of `bytes` and its length; `None` while it isn't whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Request, usize)>, ProtocolError> {
        let Some((line, rest)) = first_line(bytes)? else {
            return Ok(None);
        };
        let unknown = || ProtocolError::Line(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["SAVE", family] => {
                let family = parse_family(family).ok_or_else(unknown)?;
                Ok(Some((Request::Save(family), line.len() + 1)))
            }
            ["RESTORE", family, generation, length] => {
                let family = parse_family(family).ok_or_else(unknown)?;
                let generation = generation.parse().map_err(|_| unknown())?;
                let Some(text) = body(rest, length.parse().map_err(|_| unknown())?)? else {
                    return Ok(None);
                };
                let consumed = line.len() + 1 + text.len();
                let request = Request::Restore {
                    family,
                    generation,
                    text,
                };
                Ok(Some((request, consumed)))
            }
            _ => Err(unknown()),
        }
    }
}

impl Response {
    /// The bytes to send.
    pub fn encode(&self) -> String {
        match self {
            Response::Ok { generation, text } => message(format_args!("ok {generation}"), text),
            Response::Stale { generation } => message(format_args!("stale {generation}"), ""),
            Response::Error(reason) => message(format_args!("error 0"), reason),
        }
    }

    /// A response at the beginning of `bytes` and its length; `None` while it isn't whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Response, usize)>, ProtocolError> {
        let Some((line, rest)) = first_line(bytes)? else {
            return Ok(None);
        };
        let unknown = || ProtocolError::Line(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, generation, length] = words[..] else {
            return Err(unknown());
        };
        let generation = generation.parse().map_err(|_| unknown())?;
        let Some(text) = body(rest, length.parse().map_err(|_| unknown())?)? else {
            return Ok(None);
        };
        let consumed = line.len() + 1 + text.len();
        let response = match kind {
            "ok" => Response::Ok { generation, text },
            "stale" => Response::Stale { generation },
            "error" => Response::Error(text),
            _ => return Err(unknown()),
        };
        Ok(Some((response, consumed)))
    }
}

fn message(line: std::fmt::Arguments<'_>, text: &str) -> String {
    let mut message = String::with_capacity(text.len() + 40);
    // Writing to a string does not fail.
    let _ = writeln!(message, "{line} {}", text.len());
    message.push_str(text);
    message
}

/// Longest line.
const MAX_LINE: usize = 80;

fn first_line(bytes: &[u8]) -> Result<Option<(&str, &[u8])>, ProtocolError> {
    let end = bytes.iter().take(MAX_LINE).position(|&byte| byte == b'\n');
    let Some((line, rest)) = end.and_then(|end| Some((bytes.get(..end)?, bytes.get(end + 1..)?))) else {
        return match bytes.len() < MAX_LINE {
            true => Ok(None),
            false => Err(ProtocolError::Line(String::from_utf8_lossy(&bytes[..MAX_LINE]).into_owned())),
        };
    };
    let line = std::str::from_utf8(line).map_err(|_| ProtocolError::Encoding)?;
    Ok(Some((line, rest)))
}

fn body(rest: &[u8], length: usize) -> Result<Option<String>, ProtocolError> {
    if length > MAX_TEXT {
        return Err(ProtocolError::TooLong(length));
    }
    let Some(text) = rest.get(..length) else { return Ok(None) };
    let text = std::str::from_utf8(text).map_err(|_| ProtocolError::Encoding)?;
    Ok(Some(text.to_owned()))
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn parse_family(name: &str) -> Option<Family> {
    match name {
        "ipv4" => Some(Family::V4),
        "ipv6" => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_through_whole_or_not_yet() {
        let requests = [
            Request::Save(Family::V4),
            Request::Restore {
                family: Family::V6,
                generation: 7,
                text: "*raw\nCOMMIT\n".to_owned(),
            },
        ];
        for request in requests {
            let bytes = request.encode().into_bytes();
            for end in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..end]), Ok(None), "{end} of {request:?}");
            }
            assert_eq!(Request::decode(&bytes), Ok(Some((request, bytes.len()))));
        }
        let responses = [
            Response::Ok {
                generation: 3,
                text: "*raw\n".to_owned(),
            },
            Response::Stale { generation: 4 },
            Response::Error("no".to_owned()),
        ];
        for response in responses {
            let mut bytes = response.encode().into_bytes();
            let length = bytes.len();
            assert_eq!(Response::decode(&bytes[..length - 1]), Ok(None));
            bytes.extend(b"more");
            assert_eq!(Response::decode(&bytes), Ok(Some((response, length))));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Request::decode(b"DROP tables\n").is_err());
        assert!(Request::decode(&[b'x'; 100]).is_err());
        assert!(Request::decode(b"RESTORE ipv4 1 99999999999\n").is_err());
        assert!(Response::decode(b"ok 1\n").is_err());
        assert!(Response::decode(b"\xff\n").is_err());
    }
}
