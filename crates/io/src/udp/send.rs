//! Sending many datagrams with one system call (`sendmmsg`, `UDP_SEGMENT`: `man 2 sendmmsg`, `man 7 udp`).
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use fielato_wireguard::Path;
use socket2::SockAddr;

use super::{Pair, Udp};

/// The most datagrams in one [`Transmit`]: `UDP_MAX_SEGMENTS` was this before Linux 6.9 (include/linux/udp.h).
pub(crate) const SEGMENTS_MAX: usize = 64;

/// The most bytes in one [`Transmit`], whatever the family: an IPv4 packet's, less its header and that of UDP.
pub(crate) const PAYLOAD_MAX: usize = 65_535 - 20 - 8;

/// Messages given to the system at once. They take about 20 kB of stack.
const BATCH: usize = 64;

/// Room for control messages: `in6_pktinfo`, traffic class and segment size, with their headers.
const CONTROL: usize = 96;

/// Datagrams that go the same way, one behind the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transmit<'a> {
    pub(crate) to: Path,
    /// The outer header's TOS or traffic class, with its ECN bits.
    pub(crate) tos: u8,
    /// The size of each datagram but the last, which may be shorter; `None` when `bytes` is one datagram.
    pub(crate) segment: Option<u16>,
    /// At most [`SEGMENTS_MAX`] datagrams and [`PAYLOAD_MAX`] bytes.
    pub(crate) bytes: &'a [u8],
}

impl Transmit<'_> {
    /// The segment size, when there is more than one datagram. Some devices refuse to segment a single one.
    fn segment(&self) -> Option<u16> {
        self.segment
            .filter(|segment| *segment > 0 && self.bytes.len() > usize::from(*segment))
    }

    /// How many there are.
    pub(crate) fn datagrams(&self) -> usize {
        self.segment().map_or(1, |segment| self.bytes.len().div_ceil(segment.into()))
    }
}

impl Pair {
    /// Sends everything in order, each through the socket of its family: how many datagrams were lost.
    pub(crate) fn send(&self, transmits: &[Transmit<'_>]) -> usize {
        let runs = transmits.chunk_by(|a, b| a.to.remote.is_ipv4() == b.to.remote.is_ipv4());
        let lost = runs.map(|run| match run.first().map(|first| first.to.remote) {
            Some(SocketAddr::V4(_)) => self.v4.send(run),
            _ => match &self.v6 {
                Some(v6) => v6.send(run),
                None => run.iter().map(Transmit::datagrams).sum(),
            },
        });
        lost.sum()
    }
}

impl Udp {
    /// Sends everything in order: how many datagrams were lost. One that is lost does not stop the others. Waits a
    /// moment when the system has no room.
    pub(crate) fn send(&self, transmits: &[Transmit<'_>]) -> usize {
        let runs = transmits.chunk_by(|a, b| !self.must_split(a) && !self.must_split(b));
        let lost = runs.map(|run| match run {
            [one] if self.must_split(one) => self.send_split(one),
            run => run.chunks(BATCH).map(|batch| self.send_batch(batch)).sum(),
        });
        lost.sum()
    }

    fn must_split(&self, transmit: &Transmit<'_>) -> bool {
        transmit.segment().is_some() && !self.segmentation.load(Ordering::Relaxed)
    }

    /// Sends each datagram as a message of its own.
    fn send_split(&self, transmit: &Transmit<'_>) -> usize {
        let one = Transmit {
            segment: None,
            bytes: &[],
            ..*transmit
        };
        let mut singles = [one; BATCH];
        let segment = transmit.segment().map_or(transmit.bytes.len(), usize::from);
        let mut datagrams = transmit.bytes.chunks(segment.max(1)).peekable();
        let mut lost = 0;
        while datagrams.peek().is_some() {
            let mut count = 0;
            for (single, bytes) in singles.iter_mut().zip(datagrams.by_ref().take(BATCH)) {
                single.bytes = bytes;
                count += 1;
            }
            lost += self.send_batch(singles.get(..count).unwrap_or_default());
        }
        lost
    }

    /// Sends up to [`BATCH`] messages.
    fn send_batch(&self, transmits: &[Transmit<'_>]) -> usize {
        let mut slots = [const { MaybeUninit::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::uninit() }; BATCH];
        for ((slot, header), transmit) in slots.iter_mut().zip(&mut headers).zip(transmits) {
            header.write(slot.write(Slot::new(transmit)).header());
        }
        let (mut next, mut lost) = (0, 0);
        // Where we waited last: there is no second wait in the same place, and none at all when the first was in vain.
        let (mut waited, mut has_room) = (None, true);
        while let Some(transmit) = transmits.get(next) {
            // SAFETY: the loop above wrote a header for each of `transmits`, of which there are no more than headers;
            // the slots that they point to live in `slots`, and the payloads in `transmits`.
            let sent = unsafe { send_messages(self.socket.as_raw_fd(), headers.get_mut(next..transmits.len())) };
            match sent {
                Ok(sent) if sent > 0 => next += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_room && waited != Some(next) => {
                    waited = Some(next);
                    has_room = crate::fd::writable(self);
                }
                // The error is that of the first message: the system returns a count when others went before.
                result => {
                    let recovered = result.err().and_then(|error| self.recover(transmit, &error));
                    lost += recovered.unwrap_or_else(|| transmit.datagrams());
                    next += 1;
                }
            }
        }
        lost
    }

    /// Tries another way to send what failed: how many datagrams were lost then. `None` when there is no other way.
    fn recover(&self, transmit: &Transmit<'_>, error: &io::Error) -> Option<usize> {
        // Our address that the peer knew is gone: any other is better than none.
        if transmit.to.local.is_some() && address_is_gone(error) {
            let from_any = Transmit {
                to: transmit.to.remote.into(),
                ..*transmit
            };
            let mut slot = Slot::new(&from_any);
            let mut header = [MaybeUninit::new(slot.header())];
            // SAFETY: the one header is written, and points to `slot` and the payload, which live through the call.
            if matches!(unsafe { send_messages(self.socket.as_raw_fd(), Some(&mut header)) }, Ok(1)) {
                return Some(0);
            }
        }
        transmit.segment()?;
        match error.raw_os_error() {
            // The route's device can't compute checksums, or a transformation (IPsec) is in the way: kernel file
            // net/ipv4/udp.c, `udp_send_skb`.
            Some(libc::EIO) => {
                if self.segmentation.swap(false, Ordering::Relaxed) {
                    log::info!(
                        "UDP segmentation offload is off from now on: the route to {} can't",
                        transmit.to.remote.ip()
                    );
                }
            }
            // A segment is larger than the path's MTU (EINVAL in older kernels). Single datagrams are fragmented.
            Some(libc::EMSGSIZE | libc::EINVAL) => {}
            _ => return None,
        }
        Some(self.send_split(transmit))
    }
}

fn address_is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH)
    )
}

/// How many of the messages the system took.
///
/// # Safety
/// The headers are initialised, and what they point to is alive.
unsafe fn send_messages(socket: libc::c_int, headers: Option<&mut [MaybeUninit<libc::mmsghdr>]>) -> io::Result<usize> {
    let headers = headers.unwrap_or_default();
    let count = headers.len().min(BATCH) as libc::c_uint;
    // SAFETY: `headers` has `count` elements, good by the caller's promise; the kernel writes only their `msg_len`.
    let sent = unsafe { libc::sendmmsg(socket, headers.as_mut_ptr().cast(), count, libc::MSG_NOSIGNAL as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What a message's header points to.
struct Slot {
    name: SockAddr,
    data: libc::iovec,
    control: Control,
}

impl Slot {
    fn new(transmit: &Transmit<'_>) -> Self {
        let mut control = Control::new();
        if let Some(local) = transmit.to.local {
            control.push_local_address(local);
        }
        if transmit.tos != 0 {
            let tos = libc::c_int::from(transmit.tos);
            match transmit.to.remote {
                SocketAddr::V4(_) => control.push(libc::IPPROTO_IP, libc::IP_TOS, tos),
                SocketAddr::V6(_) => control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos),
            }
        }
        if let Some(segment) = transmit.segment() {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        Self {
            name: transmit.to.remote.into(),
            data: libc::iovec {
                // The kernel only reads it.
                iov_base: transmit.bytes.as_ptr().cast_mut().cast(),
                iov_len: transmit.bytes.len(),
            },
            control,
        }
    }

    /// A header good for as long as this stays where it is.
    fn header(&mut self) -> libc::mmsghdr {
        // SAFETY: `mmsghdr` is plain data, for which all zeros is a value.
        let mut header: libc::mmsghdr = unsafe { zeroed() };
        let message = &mut header.msg_hdr;
        message.msg_name = self.name.as_ptr().cast_mut().cast();
        message.msg_namelen = self.name.len();
        message.msg_iov = &raw mut self.data;
        message.msg_iovlen = 1;
        if self.control.used > 0 {
            message.msg_control = self.control.bytes.as_mut_ptr().cast();
            message.msg_controllen = self.control.used as _;
        }
        header
    }
}

/// Control messages, one behind the other.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; CONTROL],
    used: usize,
}

impl Control {
    fn new() -> Self {
        Self {
            bytes: [0; CONTROL],
            used: 0,
        }
    }

    /// Asks for the datagrams to leave from `local`.
    fn push_local_address(&mut self, local: IpAddr) {
        match local {
            IpAddr::V4(local) => {
                let none = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(local).to_be(),
                    },
                    ipi_addr: none,
                };
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(local) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: local.octets() },
                    ipi6_ifindex: 0,
                };
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    /// Appends a message. There is room for one each of the three kinds that we use, and one that has none is left out.
    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute (`man 3 cmsg`).
        let (len, space) = unsafe { (libc::CMSG_LEN(size_of::<T>() as u32), libc::CMSG_SPACE(size_of::<T>() as u32)) };
        let Some(room) = self.bytes.get_mut(self.used..self.used + space as usize) else {
            return;
        };
        let header = room.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `room` holds header and value (`man 3 cmsg`: CMSG_SPACE), and is aligned for a header, since the
        // buffer is and every CMSG_SPACE is a multiple of that alignment.
        unsafe {
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.used += space as usize;
    }
}
