//! `fielato capture`: both sides of the tunnel in one file.

mod gateway;
mod sockets;

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fielato_wire::filter::Words;
use fielato_wire::pcapng::{self, Direction, LinkType, Packet, Statistics};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::order::{Explained, Fate, Held, Order};
use super::{Stop, Subject, now};
use crate::Paths;

/// How long a packet is held before it is written.
const HOLD: Duration = Duration::from_millis(100);
/// How often packets are written while nothing happens.
const TICK: Duration = Duration::from_millis(25);

/// What to capture.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Packets within the tunnel.
    pub clear: bool,
    /// Encrypted packets.
    pub cipher: bool,
    /// Which of them.
    pub filter: Words,
    /// The filter as it was given.
    pub words: String,
    /// End after so many packets.
    pub count: Option<u64>,
    /// Bytes of each packet, from its first on, link header included; 0 for all.
    pub snaplen: u32,
    /// Say of no more packets than this each second what became of them; 0 for none.
    pub explained: u32,
}

/// What was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets written.
    pub packets: u64,
    /// Packets lost because they came faster than they could be read.
    pub lost: u64,
    /// Packets of the clear side.
    pub clear: u64,
    /// How many of these have a comment.
    pub explained: u64,
    /// Why there are no comments at all, if there could be none.
    pub unexplained: Option<String>,
}

/// Captures until `stop`, the count, or until nobody reads `out` any more.
///
/// # Errors
/// Without the right to capture, when an interface goes away, or when `out` can't be written.
pub fn run(paths: &Paths, subject: &Subject, settings: &Settings, out: &mut dyn Write, stop: &Stop) -> Result<Summary> {
    let mut capture = Capture::open(paths, subject, settings)?;
    match capture.run(out, stop) {
        Ok(()) => {}
        // Whoever read has gone, as `| head` does; that is no failure.
        Err(error) if is_broken_pipe(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(capture.summary())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Where the packets come from.
enum Input {
    /// Sockets of this process, on the kernel engine.
    Sockets(Box<sockets::Sockets>),
    /// The daemon, which is the gateway.
    Gateway(gateway::Gateway),
}

impl Input {
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Sockets(sockets) => sockets.fds(),
            Self::Gateway(gateway) => gateway.fds(),
        }
    }

    /// Takes packets; whether there may be more at once.
    fn read(&mut self, intake: &mut Intake) -> Result<bool> {
        match self {
            Self::Sockets(sockets) => sockets.read(intake),
            Self::Gateway(gateway) => gateway.read(intake),
        }
    }

    /// Hears what became of packets.
    fn explain(&mut self, intake: &mut Intake) -> Result<()> {
        match self {
            Self::Sockets(sockets) => sockets.explain(intake),
            // It comes with the packets.
            Self::Gateway(gateway) => gateway.read(intake).map(|_| ()),
        }
    }

    /// What became of the packet of this key.
    fn find(&mut self, key: &[u8]) -> Option<Explained> {
        match self {
            Self::Sockets(sockets) => sockets.find(key),
            Self::Gateway(gateway) => gateway.find(key),
        }
    }
}

/// An interface of the file.
struct Place {
    described: pcapng::Interface,
    counts: Statistics,
    /// Losses that a packet in the file has told of already.
    told: u64,
    /// Whether packets there are within the tunnel.
    clear: bool,
    /// Whether its packets get an Ethernet header of zeros.
    framed: bool,
}

/// What was taken in so far.
struct Intake {
    places: Vec<Place>,
    order: Order,
    snaplen: usize,
    count: u64,
    /// Packets that wait or are written.
    taken: u64,
}

impl Intake {
    fn new(settings: &Settings) -> Self {
        Self {
            places: Vec::new(),
            order: Order::default(),
            snaplen: match settings.snaplen {
                0 => usize::MAX,
                snaplen => snaplen as usize,
            },
            count: settings.count.unwrap_or(u64::MAX),
            taken: 0,
        }
    }

    /// Adds an interface to the file; its number.
    fn add(&mut self, name: &str, clear: bool, link: LinkType, settings: &Settings) -> u32 {
        let (side, description) = match clear {
            true => ("clear", "packets within the tunnel"),
            false => ("cipher", "WireGuard's packets"),
        };
        let interface = self.places.len() as u32;
        // libpcap reads files of one link type only, and of several interfaces not even those that are all without a header
        // (sf-pcapng.c compares the second one's number in the file with the first one's in memory). Ethernet it reads.
        let framed = settings.clear && settings.cipher && link == LinkType::Raw;
        self.places.push(Place {
            described: pcapng::Interface {
                name: format!("{name} ({side})"),
                description: match framed {
                    true => format!("{description}, behind an Ethernet header made up for this file"),
                    false => description.into(),
                },
                link: if framed { LinkType::Ethernet } else { link },
                snaplen: settings.snaplen,
                filter: settings.words.clone(),
            },
            counts: Statistics {
                interface,
                ..Statistics::default()
            },
            told: 0,
            clear,
            framed,
        });
        interface
    }

    fn counts(&mut self, interface: u32) -> Option<&mut Statistics> {
        self.places.get_mut(interface as usize).map(|place| &mut place.counts)
    }

    fn is_full(&self) -> bool {
        self.taken >= self.count
    }

    /// Takes a packet that was wanted.
    fn take(&mut self, mut packet: Held) {
        if self.is_full() {
            return;
        }
        if let Some(place) = self.places.get_mut(packet.interface as usize) {
            place.counts.accepted += 1;
            if place.framed {
                frame(&mut packet);
            }
        }
        packet.bytes.truncate(self.snaplen);
        self.taken += 1;
        self.order.push(packet);
    }
}

/// Puts an Ethernet header without addresses before a packet.
fn frame(packet: &mut Held) {
    let kind: u16 = match packet.bytes.first().map(|byte| byte >> 4) {
        Some(6) => 0x86dd,
        _ => 0x0800,
    };
    let [high, low] = kind.to_be_bytes();
    let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low];
    packet.len = packet.len.saturating_add(header.len() as u32);
    packet.bytes.splice(..0, header);
}

struct Capture {
    input: Input,
    intake: Intake,
    unexplained: Option<String>,
    started: Duration,
    /// Packets written, those of the clear side, and those with a comment.
    written: u64,
    clear: u64,
    explained: u64,
}

impl Capture {
    fn open(paths: &Paths, subject: &Subject, settings: &Settings) -> Result<Self> {
        let mut intake = Intake::new(settings);
        let mut unexplained = None;
        let input = match subject.status.engine.as_str() {
            "kernel" => {
                let (sockets, reason) = sockets::Sockets::open(subject, settings, &mut intake)?;
                unexplained = reason;
                Input::Sockets(Box::new(sockets))
            }
            _ => Input::Gateway(gateway::Gateway::open(paths, subject, settings, &mut intake)?),
        };
        Ok(Self {
            input,
            intake,
            unexplained,
            started: now(),
            written: 0,
            clear: 0,
            explained: 0,
        })
    }

    fn run(&mut self, out: &mut dyn Write, stop: &Stop) -> Result<()> {
        let application = concat!("fielato ", env!("CARGO_PKG_VERSION"));
        out.write_all(&pcapng::section(application))?;
        for place in &self.intake.places {
            out.write_all(&pcapng::interface(&place.described))?;
        }
        // Now whoever waits for the file knows that packets from here on are in it.
        out.flush()?;
        while !self.intake.is_full() && !stop.is_due() {
            self.wait(stop)?;
            self.input.read(&mut self.intake)?;
            self.input.explain(&mut self.intake)?;
            self.write(now().saturating_sub(HOLD), out)?;
        }
        // What came until now is still to be read, and what becomes of the last ones to be heard.
        let ended = now();
        while self.input.read(&mut self.intake)? && now() < ended + HOLD {}
        while !self.intake.order.is_empty() && now() < ended + HOLD {
            std::thread::sleep(TICK);
            self.input.explain(&mut self.intake)?;
        }
        while !self.intake.order.is_empty() {
            self.write(Duration::MAX, out)?;
        }
        for place in &mut self.intake.places {
            place.counts.started = self.started;
            place.counts.ended = ended;
            out.write_all(&pcapng::statistics(&place.counts))?;
        }
        out.flush()?;
        Ok(())
    }

    fn wait(&self, stop: &Stop) -> Result<()> {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            self.input
                .fds()
                .into_iter()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        match poll(&mut fds, Some(&Timespec::try_from(TICK)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for packets"),
        }
    }

    /// Writes what was seen before `until`.
    fn write(&mut self, until: Duration, out: &mut dyn Write) -> Result<()> {
        let before = self.written;
        while let Some(held) = self.intake.order.pop(until) {
            let Some(place) = self.intake.places.get_mut(held.interface as usize) else {
                continue;
            };
            let explained = match held.fate {
                Fate::Known(explained) => Some(explained),
                Fate::Traced(key) => self.input.find(&key),
                Fate::Unknown => None,
            };
            self.clear += u64::from(place.clear);
            self.explained += u64::from(explained.is_some());
            let packet = Packet {
                interface: held.interface,
                at: held.at,
                bytes: &held.bytes,
                original_len: held.len,
                direction: Some(match held.outbound {
                    true => Direction::Outbound,
                    false => Direction::Inbound,
                }),
                verdict: explained.as_ref().map(|explained| explained.verdict),
                lost: place.counts.lost.saturating_sub(place.told),
                comments: explained.into_iter().map(|explained| explained.comment).collect(),
            };
            out.write_all(&pcapng::packet(&packet))?;
            place.told = place.counts.lost;
            place.counts.delivered += 1;
            self.written += 1;
        }
        if self.written > before {
            out.flush()?;
        }
        Ok(())
    }

    fn summary(self) -> Summary {
        Summary {
            packets: self.written,
            lost: self.intake.places.iter().map(|place| place.counts.lost).sum(),
            clear: self.clear,
            explained: self.explained,
            unexplained: self.unexplained,
        }
    }
}
