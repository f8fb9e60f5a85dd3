//! Packets on the user-space engine: the daemon shows them, with what they met.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Result;
use fielato_wire::Headers;
use fielato_wire::pcapng::LinkType;

use super::{Intake, Settings};
use crate::Paths;
use crate::live::explain::{self, Known};
use crate::live::order::{Explained, Fate, Held};
use crate::live::report::{Ends, LiveVerdict};
use crate::live::stream::{Stream, Streamed};
use crate::live::{Subject, now};
use crate::protocol::Watch;

/// What the daemon shows.
pub(super) struct Gateway {
    stream: Stream,
    clear: Option<u32>,
    cipher: Option<u32>,
    /// What was said of packets towards the tunnel when they were judged: they are shown when they leave.
    known: Known,
}

impl Gateway {
    /// Asks the daemon.
    ///
    /// # Errors
    /// When it says no.
    pub fn open(paths: &Paths, subject: &Subject, settings: &Settings, intake: &mut Intake) -> Result<Self> {
        let watch = Watch {
            clear: settings.clear,
            cipher: settings.cipher,
            filter: settings.words.clone(),
            // The headers are needed here, however little is written.
            snaplen: match settings.snaplen {
                0 => 0,
                snaplen => snaplen.max(HEADERS),
            },
            explained: settings.explained,
            only_explained: false,
        };
        let stream = Stream::open(paths, watch)?;
        let status = &subject.status;
        let mut add = |wanted: bool, name: &str, clear| wanted.then(|| intake.add(name, clear, LinkType::Raw, settings));
        Ok(Self {
            stream,
            clear: add(settings.clear, &status.interface, true),
            cipher: add(settings.cipher, &status.uplink, false),
            known: Known::default(),
        })
    }

    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.stream.as_fd()]
    }

    /// Takes what has come; whether there may be more.
    pub fn read(&mut self, intake: &mut Intake) -> Result<bool> {
        let packets = self.stream.read()?;
        let more = !packets.is_empty();
        for packet in packets {
            let Some(interface) = (if packet.clear { self.clear } else { self.cipher }) else {
                continue;
            };
            if let Some(counts) = intake.counts(interface) {
                counts.received += 1;
                counts.lost = self.stream.lost;
            }
            if let Some(fate) = self.fate(&packet) {
                intake.take(Held {
                    at: packet.at,
                    interface,
                    outbound: !packet.inbound,
                    bytes: packet.bytes,
                    len: packet.len,
                    fate,
                });
            }
        }
        self.known.sweep(now());
        Ok(more)
    }

    pub fn find(&mut self, key: &[u8]) -> Option<Explained> {
        self.known.take(key)
    }

    /// `None` for a packet that will be shown again when it leaves.
    fn fate(&mut self, packet: &Streamed) -> Option<Fate> {
        if !packet.judged {
            let headers = whole(packet)
                .and_then(|bytes| Headers::parse(&bytes).ok())
                .filter(|_| packet.clear);
            return Some(headers.map_or(Fate::Unknown, |headers| Fate::Traced(key(&Ends::of(&headers), &packet.bytes))));
        }
        let Some(told) = &packet.told else {
            return Some(Fate::Unknown);
        };
        let explained = explain::explained(told);
        match (packet.inbound, told.verdict, &told.left) {
            (true, ..) => Some(Fate::Known(explained)),
            (false, LiveVerdict::Passed, Some(left)) => {
                self.known.insert(key(&left.packet, &packet.bytes), explained, now());
                None
            }
            (false, LiveVerdict::Passed, None) => None,
            (false, ..) => Some(Fate::Known(Explained {
                comment: format!("{} (never sent)", explained.comment),
                ..explained
            })),
        }
    }
}

/// Bytes that hold the longest headers that are asked for anything.
const HEADERS: u32 = 256;

/// The packet as long as it was: what was cut off is taken to be zero.
fn whole(packet: &Streamed) -> Option<Vec<u8>> {
    let mut bytes = packet.bytes.clone();
    bytes.resize(usize::try_from(packet.len).ok()?.max(bytes.len()), 0);
    Some(bytes)
}

/// What a packet keeps on its way from where it is judged to where it leaves: its ends as they are then, and IPv4's identification.
fn key(ends: &Ends, bytes: &[u8]) -> Vec<u8> {
    let identification = match (bytes.first().map(|byte| byte >> 4), bytes.get(4..6)) {
        (Some(4), Some(identification)) => identification.to_vec(),
        _ => Vec::new(),
    };
    let mut key = format!("{} {} ", ends.protocol, ends.way()).into_bytes();
    key.extend(identification);
    key
}
