//! `fielato capture`: both sides of the tunnel in one file.

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fielato_kernel::link::{self, Link};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::packet::PacketSocket;
use fielato_wire::filter::{Filter, Words};
use fielato_wire::pcap::within_ethernet;
use fielato_wire::pcapng::{self, Direction, LinkType, Packet, Statistics};
use fielato_wire::{Headers, number};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::explain::Explainer;
use super::order::{Fate, Held, Order};
use super::{Stop, Subject, now};

/// How long a packet is held before it is written.
const HOLD: Duration = Duration::from_millis(100);
/// How often packets are written while nothing happens.
const TICK: Duration = Duration::from_millis(25);
/// Most packets read from one socket before the other one has its turn.
const TURN: usize = 256;

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
pub fn run(subject: &Subject, settings: &Settings, out: &mut dyn Write, stop: &Stop) -> Result<Summary> {
    let mut capture = Capture::open(subject, settings)?;
    match capture.run(out, stop) {
        Ok(()) => {}
        // Whoever read has gone, as `| head` does; that is no failure.
        Err(error) if is_broken_pipe(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Summary {
        packets: capture.written,
        clear: capture.clear,
        explained: capture.explained,
        unexplained: capture.unexplained,
        lost: capture.taps.iter().map(|tap| tap.counts.lost).sum(),
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Which side of the encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Clear,
    /// The UDP port.
    Cipher(u16),
}

/// An interface that is listened to.
struct Tap {
    socket: PacketSocket,
    side: Side,
    link: LinkType,
    filter: Filter,
    described: pcapng::Interface,
    counts: Statistics,
    /// Losses that a packet in the file has told of already.
    told: u64,
}

struct Capture {
    taps: Vec<Tap>,
    explainer: Option<Explainer>,
    unexplained: Option<String>,
    clear: u64,
    explained: u64,
    order: Order,
    snaplen: usize,
    count: u64,
    written: u64,
    /// Packets that wait or are written.
    taken: u64,
    started: Duration,
}

impl Capture {
    fn open(subject: &Subject, settings: &Settings) -> Result<Self> {
        let Settings {
            clear,
            cipher,
            filter,
            words,
            count,
            snaplen,
            explained,
        } = settings;
        let status = &subject.status;
        let mut netlink = Netlink::open()?;
        let mut taps = Vec::new();
        let mut add = |side: Side, name: &str, filter: Filter| -> Result<()> {
            let link = link::get(&mut netlink, name)?;
            let (shown, description) = match side {
                Side::Clear => (format!("{name} (clear)"), "packets within the tunnel"),
                Side::Cipher(_) => (format!("{name} (cipher)"), "WireGuard's packets"),
            };
            let socket = match side {
                Side::Clear => PacketSocket::open(link.index),
                Side::Cipher(port) => PacketSocket::open_udp(link.index, port),
            };
            taps.push(Tap {
                socket: socket.map_err(|error| refused(error, name))?,
                side,
                link: link_type(&link)?,
                filter,
                described: pcapng::Interface {
                    name: shown,
                    description: description.into(),
                    link: link_type(&link)?,
                    snaplen: *snaplen,
                    filter: words.clone(),
                },
                counts: Statistics {
                    interface: taps.len() as u32,
                    ..Statistics::default()
                },
                told: 0,
            });
            Ok(())
        };
        if *clear {
            add(Side::Clear, &status.interface, subject.clear(filter)?)?;
        }
        if *cipher {
            add(Side::Cipher(status.listen_port), &status.uplink, subject.cipher(filter)?)?;
        }
        if taps.is_empty() {
            bail!("nothing to capture: choose the clear side, the cipher side or both");
        }
        let (mut explainer, mut unexplained) = (None, None);
        if *clear && *explained > 0 {
            // A capture without comments is better than none.
            match Explainer::open(subject, subject.clear(filter)?, *explained) {
                Ok(opened) => explainer = Some(opened),
                Err(error) => unexplained = Some(format!("{error:#}")),
            }
        }
        Ok(Self {
            taps,
            explainer,
            unexplained,
            clear: 0,
            explained: 0,
            order: Order::default(),
            snaplen: match *snaplen {
                0 => usize::MAX,
                snaplen => snaplen as usize,
            },
            count: count.unwrap_or(u64::MAX),
            written: 0,
            taken: 0,
            started: now(),
        })
    }

    fn run(&mut self, out: &mut dyn Write, stop: &Stop) -> Result<()> {
        let application = concat!("fielato ", env!("CARGO_PKG_VERSION"));
        out.write_all(&pcapng::section(application))?;
        for tap in &self.taps {
            out.write_all(&pcapng::interface(&tap.described))?;
        }
        // Now whoever waits for the file knows that packets from here on are in it.
        out.flush()?;
        while self.taken < self.count && !stop.is_due() {
            self.wait(stop)?;
            for index in 0..self.taps.len() {
                self.read(index)?;
            }
            self.explain()?;
            self.write(now().saturating_sub(HOLD), out)?;
        }
        // What came until now is still to be read, and what becomes of the last ones to be heard.
        let ended = now();
        for index in 0..self.taps.len() {
            while self.read(index)? && now() < ended + HOLD {}
        }
        while self.explainer.is_some() && !self.order.is_empty() && now() < ended + HOLD {
            std::thread::sleep(TICK);
            self.explain()?;
        }
        while !self.order.is_empty() {
            self.write(Duration::MAX, out)?;
        }
        for tap in &mut self.taps {
            tap.counts.started = self.started;
            tap.counts.ended = ended;
            out.write_all(&pcapng::statistics(&tap.counts))?;
        }
        out.flush()?;
        Ok(())
    }

    fn wait(&self, stop: &Stop) -> Result<()> {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            self.taps
                .iter()
                .map(|tap| PollFd::from_borrowed_fd(tap.socket.as_fd(), PollFlags::IN)),
        );
        match poll(&mut fds, Some(&Timespec::try_from(TICK)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for packets"),
        }
    }

    /// Takes what one socket has; whether there may be more.
    fn read(&mut self, index: usize) -> Result<bool> {
        let Some(tap) = self.taps.get_mut(index) else {
            return Ok(false);
        };
        let mut more = true;
        for _ in 0..TURN {
            if self.taken >= self.count {
                more = false;
                break;
            }
            let seen = match tap.socket.receive() {
                Ok(Some(seen)) => seen,
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(error) => return Err(error).with_context(|| format!("{} is not to be heard any more", tap.described.name)),
            };
            tap.counts.received += 1;
            let Some(packet) = ip_packet(tap.link, seen.bytes) else {
                continue;
            };
            let Ok(headers) = Headers::parse(packet) else { continue };
            if !is_of(tap.side, &headers) || !tap.filter.matches(&headers) {
                continue;
            }
            tap.counts.accepted += 1;
            self.taken += 1;
            self.order.push(Held {
                at: seen.at,
                interface: tap.counts.interface,
                outbound: seen.outbound,
                bytes: seen.bytes[..seen.bytes.len().min(self.snaplen)].to_vec(),
                len: seen.len as u32,
                fate: match (tap.side, &self.explainer) {
                    (Side::Clear, Some(_)) => Explainer::fate(seen.outbound, &headers, packet),
                    _ => Fate::Unknown,
                },
            });
        }
        tap.counts.lost = tap.socket.lost();
        Ok(more)
    }

    /// Hears what became of packets.
    fn explain(&mut self) -> Result<()> {
        let Some(explainer) = &mut self.explainer else { return Ok(()) };
        // The clear side is the first, when there is one.
        for unseen in explainer.take(self.snaplen)? {
            if self.taken < self.count {
                self.taken += 1;
                self.order.push(unseen);
            }
        }
        Ok(())
    }

    /// Writes what was seen before `until`.
    fn write(&mut self, until: Duration, out: &mut dyn Write) -> Result<()> {
        let before = self.written;
        while let Some(held) = self.order.pop(until) {
            let Some(tap) = self.taps.get_mut(held.interface as usize) else {
                continue;
            };
            let lost = tap.counts.lost;
            let explained = match (held.fate, &mut self.explainer) {
                (Fate::Known(explained), _) => Some(explained),
                (Fate::Traced(key), Some(explainer)) => explainer.find(&key),
                _ => None,
            };
            self.clear += u64::from(tap.side == Side::Clear);
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
                lost: lost - tap.told,
                comments: explained.into_iter().map(|explained| explained.comment).collect(),
            };
            out.write_all(&pcapng::packet(&packet))?;
            tap.told = lost;
            tap.counts.delivered += 1;
            self.written += 1;
        }
        if self.written > before {
            out.flush()?;
        }
        Ok(())
    }
}

/// The program in the kernel looks for UDP's ports only; what it let through by chance is sorted out here.
fn is_of(side: Side, headers: &Headers) -> bool {
    match side {
        Side::Clear => true,
        Side::Cipher(port) => headers.protocol == number::UDP && (headers.sport == port || headers.dport == port),
    }
}

fn link_type(link: &Link) -> Result<LinkType> {
    // linux/if_arp.h: Ethernet and the loopback have Ethernet's header, and these have none.
    match link.arphrd {
        arphrd::ETHER | arphrd::LOOPBACK => Ok(LinkType::Ethernet),
        arphrd::NONE | arphrd::RAWIP | arphrd::PPP => Ok(LinkType::Raw),
        other => bail!(
            "{} is an interface of hardware type {other}; captured are those with Ethernet's header and those without any",
            link.name
        ),
    }
}

/// linux/if_arp.h
mod arphrd {
    pub const ETHER: u16 = 1;
    pub const PPP: u16 = 512;
    pub const RAWIP: u16 = 519;
    pub const LOOPBACK: u16 = 772;
    pub const NONE: u16 = 65534;
}

fn ip_packet(link: LinkType, bytes: &[u8]) -> Option<&[u8]> {
    match link {
        LinkType::Ethernet => within_ethernet(bytes),
        _ => Some(bytes),
    }
}

fn refused(error: io::Error, name: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => anyhow::anyhow!("cannot capture on {name}: only root may; try sudo"),
        _ => anyhow::Error::new(error).context(format!("cannot capture on {name}")),
    }
}
