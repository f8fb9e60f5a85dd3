//! Packets on the kernel engine: sockets on the tunnel's interface and on the uplink.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use fielato_kernel::link::{self, Link};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::packet::PacketSocket;
use fielato_wire::filter::Filter;
use fielato_wire::pcap::within_ethernet;
use fielato_wire::pcapng::LinkType;
use fielato_wire::{Headers, number};

use super::{Intake, Settings};
use crate::live::Subject;
use crate::live::explain::Explainer;
use crate::live::order::{Explained, Fate, Held};

/// Most packets read from one socket before the other one has its turn.
const TURN: usize = 256;

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
    /// Its number in the file, and its name.
    interface: u32,
    name: String,
}

/// The interfaces, and what becomes of packets on the clear side.
pub(super) struct Sockets {
    taps: Vec<Tap>,
    explainer: Option<Explainer>,
}

impl Sockets {
    /// Begins to listen. Beside the sockets: why nothing can be said of packets, if so.
    ///
    /// # Errors
    /// Without the right, or without the interfaces.
    pub fn open(subject: &Subject, settings: &Settings, intake: &mut Intake) -> Result<(Self, Option<String>)> {
        let status = &subject.status;
        let mut netlink = Netlink::open()?;
        let mut taps = Vec::new();
        let mut add = |side: Side, name: &str, filter: Filter| -> Result<()> {
            let link = link::get(&mut netlink, name)?;
            let socket = match side {
                Side::Clear => PacketSocket::open(link.index),
                Side::Cipher(port) => PacketSocket::open_udp(link.index, port),
            };
            let socket = socket.map_err(|error| refused(error, name))?;
            let link = link_type(&link)?;
            taps.push(Tap {
                socket,
                side,
                link,
                filter,
                interface: intake.add(name, side == Side::Clear, link, settings),
                name: name.to_owned(),
            });
            Ok(())
        };
        if settings.clear {
            add(Side::Clear, &status.interface, subject.clear(&settings.filter)?)?;
        }
        if settings.cipher {
            let port = Side::Cipher(status.listen_port);
            add(port, &status.uplink, subject.cipher(&settings.filter)?)?;
        }
        let (mut explainer, mut unexplained) = (None, None);
        if settings.clear && settings.explained > 0 {
            // A capture without comments is better than none.
            match Explainer::open(subject, subject.clear(&settings.filter)?, settings.explained) {
                Ok(opened) => explainer = Some(opened),
                Err(error) => unexplained = Some(format!("{error:#}")),
            }
        }
        Ok((Self { taps, explainer }, unexplained))
    }

    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.taps.iter().map(|tap| tap.socket.as_fd()).collect()
    }

    /// Takes what the sockets have; whether there may be more.
    pub fn read(&mut self, intake: &mut Intake) -> Result<bool> {
        let mut more = false;
        for tap in &mut self.taps {
            let is_explained = self.explainer.is_some() && tap.side == Side::Clear;
            more |= tap.read(is_explained, intake)?;
        }
        Ok(more)
    }

    pub fn explain(&mut self, intake: &mut Intake) -> Result<()> {
        let Some(explainer) = &mut self.explainer else { return Ok(()) };
        // The clear side is the first of the file.
        for unseen in explainer.take()? {
            intake.take(unseen);
        }
        Ok(())
    }

    pub fn find(&mut self, key: &[u8]) -> Option<Explained> {
        self.explainer.as_mut()?.find(key)
    }
}

impl Tap {
    fn read(&mut self, is_explained: bool, intake: &mut Intake) -> Result<bool> {
        let mut more = true;
        let mut received = 0;
        for _ in 0..TURN {
            if intake.is_full() {
                more = false;
                break;
            }
            let seen = match self.socket.receive() {
                Ok(Some(seen)) => seen,
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(error) => return Err(error).with_context(|| format!("{} is not to be heard any more", self.name)),
            };
            received += 1;
            let Some(packet) = ip_packet(self.link, seen.bytes) else {
                continue;
            };
            let Ok(headers) = Headers::parse(packet) else { continue };
            if is_of(self.side, &headers) && self.filter.matches(&headers) {
                intake.take(Held {
                    at: seen.at,
                    interface: self.interface,
                    outbound: seen.outbound,
                    bytes: seen.bytes.to_vec(),
                    len: seen.len as u32,
                    fate: match is_explained {
                        true => Explainer::fate(seen.outbound, &headers, packet),
                        false => Fate::Unknown,
                    },
                });
            }
        }
        if let Some(counts) = intake.counts(self.interface) {
            counts.received += received;
            counts.lost = self.socket.lost();
        }
        Ok(more)
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
